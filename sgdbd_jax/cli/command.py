"""What every command shares: how it ends, and the options that mean the same everywhere."""

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgdbd_jax.cli import streams
from sgdbd_jax.detection.shipped import DEFAULT, SHIPPED
from sgdbd_jax.errors import UserError


def whole_number(text: str) -> int:
    """An option's value, at least 1.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run(main: Callable[[], int | None]) -> None:
    """Ends the process with the code that `main` returns; bad input is one line on standard error and code 2.

    Warnings of the library, too, become one line each. Output that cannot be written costs no work: if it is for
    another reason than that nobody reads it, the code is 1 where it would be 0, and a line says so.
    """
    streams.protect()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        code = main()
    except SystemExit as end:  # of argparse
        code = end.code  # type: ignore[assignment]  # or a message, which Python prints
    except UserError as error:
        code = _fail(str(error))
    except OSError as error:  # a full disk, a folder that may not be written: the machine's state, not a defect
        where = f"{error.filename}: " if error.filename else ""
        code = _fail(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        code = _fail("interrupted", code=130)
    if lost := streams.trouble():
        code = code or 1
        _fail(f"standard output: cannot be written ({lost.strerror or lost})")
    gc.freeze()  # or the interpreter would search all that libraries have built, several times, before it ends
    sys.exit(code)


def cache_folder() -> Path:
    """Where this program keeps what it can make or fetch again; not made yet."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not folder.is_absolute():  # also where it is empty; the XDG specification has such values ignored
        folder = Path.home() / ".cache"
    return folder / "sgdbd_jax"


def add_work_size(parser: argparse.ArgumentParser) -> None:
    """Adds `--work_size`, as `sgdbd_jax.detection.detector.Detector` takes it."""

    def work_size(text: str) -> int | str:
        if text != "native" and int(text.removeprefix("max:")) < 1:
            raise ValueError(text)  # argparse makes a sentence of it
        return int(text) if text.isdecimal() else text

    parser.add_argument(
        "--work_size",
        type=work_size,
        metavar="N|max:N|native",
        help="photos are resized for the network to N x N pixels, as in the paper's tables (320); to at most N on the"
        " longer side; or stay as they are; what the weights were validated at, or 320",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--refine",
        choices=("edges", "colours"),
        help="masks follow the photo's edges, or are cut by its colours too, which takes longer; as the weights ask",
    )
    how.add_argument(
        "--no_refine", dest="refine", action="store_const", const="", help="masks as the network gives them"
    )


def add_weights(parser: argparse._ActionsContainer) -> None:
    """Adds `--weights`, a path or, of weights that are shipped, a name."""
    names = " or ".join(SHIPPED)
    parser.add_argument(
        "--weights", metavar="FILE", help=f"a generator's weights, or {names}, which are shipped; {DEFAULT}"
    )


def asked_refinement(options: argparse.Namespace) -> Any:
    """How masks are to be refined, as `Detector.load` takes it."""
    return True if options.refine is None else options.refine or False


def _fail(message: str, *, code: int = 2) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code

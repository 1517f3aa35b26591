"""Compiled programs, kept in the user's cache folder: a second run of a command compiles nothing again."""

import contextlib
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from sgdbd_jax.cli import command
from sgdbd_jax.machine import machine

LIMIT = 1 << 30  # bytes; the 50 programs of a short training run take 2 MB
VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def keep() -> None:
    """Tells JAX, which must not be imported yet, to keep its compiled programs; the oldest beyond `LIMIT` are removed.

    Where the variable is set, or the folder cannot be written, all stays as it is. Trouble with a kept program never
    costs more than compiling it again. Each kind of machine has a folder of its own:
    so a home on several machines is safe, XLA has no reason to complain of a program that it loads, and it loads
    exactly what it would have compiled.
    """
    if VARIABLE in os.environ or "jax" in sys.modules:  # whoever set the one or imported the other has decided
        return
    try:
        root = command.cache_folder() / "compiled"
        folder = root / machine()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return
        _tidy(root)
    except (OSError, RuntimeError):  # a RuntimeError: a user without a home
        return
    os.environ[VARIABLE] = str(folder)
    # JAX's own bound keeps only what took a second to compile; most of a run's programs take less.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    _drop_damaged(folder)


def _tidy(root: Path) -> None:
    """Removes the oldest files beyond `LIMIT`.

    JAX's own bound asks for one more library, and keeps nothing any more after a process was killed while it wrote.
    """
    files = []
    for path in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process tidies too
            if path.is_file():
                files.append((path.stat(), path))
    total = 0
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime_ns, reverse=True):
        total += stat.st_size
        if total > LIMIT:
            path.unlink(missing_ok=True)


def _drop_damaged(folder: Path) -> None:
    """Removes a kept program that JAX cannot read, in place of JAX's warning; JAX then writes it anew.

    By itself JAX (0.10.2) never mends one: it warns, compiles, and keeps the file because it is there, in every later
    run too. A process that is killed while it writes leaves such a file.
    """
    show = warnings.showwarning

    def show_or_drop(message: Warning | str, *rest: Any, **options: Any) -> None:
        trouble = re.match(r"Error (?:reading|writing) persistent compilation cache entry for '(\w+)'", str(message))
        if trouble is None:
            show(message, *rest, **options)
            return
        for path in folder.glob(f"{trouble[1]}-*"):
            path.unlink(missing_ok=True)

    warnings.showwarning = show_or_drop

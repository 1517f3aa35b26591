"""A page to drop photos on: `python -m experiments.serve`, for this machine; or with `--static DIR` for any web host.

It shows each photo with its mask, what is blurred tinted, and what is in focus cut out, has a threshold for them and
the numbers of `sgdbd`'s report, and saves them. The server also answers programs:

    curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg http://127.0.0.1:8000/api/mask > photo.mask.png
    curl -H 'Content-Type: image/jpeg' -H 'Accept: application/json' --data-binary @photo.jpg \\
        http://127.0.0.1:8000/api/mask

It ends by Ctrl-C. Exit code: 0, or 2 if there was no way to begin.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import socket
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cli import command, compiled
from sgdbd_jax.errors import UserError, shown

if TYPE_CHECKING:
    from sgdbd_jax.detection.detector import Detector

HOST, PORT = "127.0.0.1", 8000
SERVING = ("port", "host", "max_bytes", "max_pixels", "no_open")  # options without use for a page of files
MOST = 100_000_000  # bytes of a photo's file; pixels of a photo, which take a gigabyte while it is worked on


def main(argv: list[str] | None = None) -> int:
    """Parses `argv`, serves until Ctrl-C or writes the page's files, and returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    _check(options, parser)
    compiled.keep()
    if options.static is not None:
        return _write(options)
    return _serve(options)


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses options that would do nothing."""
    static = options.static is not None
    idle = SERVING if static else ("runtime",)
    if given := [f"--{name}" for name in idle if getattr(options, name) != parser.get_default(name)]:
        raise UserError(f"{', '.join(given)}: {'not used with' if static else 'used only with'} --static; leave it out")


def _serve(options: argparse.Namespace) -> int:
    from sgdbd_jax.extra import needed

    uvicorn, _ = needed("uvicorn", "the page"), needed("starlette", "the page")
    with _listening(options.host, options.port) as listener:
        from sgdbd_jax.page.server import Limits, make_app

        limits = Limits(bytes=options.max_bytes, pixels=options.max_pixels)
        app = make_app(_detector(options), limits, host=options.host)
        reached = socket.gethostname() if options.host in ("0.0.0.0", "::") else options.host
        host = f"[{reached}]" if ":" in reached else reached
        address = f"http://{host}:{listener.getsockname()[1]}/"
        print(f"{address} (Ctrl-C ends it)", flush=True)
        if not options.no_open and options.host == HOST and _has_a_screen():
            webbrowser.open(address)  # which is answered as soon as the server runs
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return 0


def _write(options: argparse.Namespace) -> int:
    from sgdbd_jax.detection.shipped import DEFAULT, is_shipped, weight_file
    from sgdbd_jax.exporting.exported import Exported
    from sgdbd_jax.files import check_folder
    from sgdbd_jax.page import runtime
    from sgdbd_jax.page.static import write_page

    check_folder(options.static)
    detector = _detector(options)
    half = is_shipped(weight_file(options.weights or DEFAULT))  # whose weights were float16 before
    model = Exported(detector, "onnx", precision="float16" if half else "float32").data
    folder, cache = options.runtime, command.cache_folder()
    files = runtime.fetched(cache) if folder is None else runtime.from_folder(folder)
    write_page(options.static, model, files, work_size=detector.work_size, refinement=detector.refinement)
    if detector.refinement is not None and detector.refinement.iterations:
        print("note: in browsers masks are refined by the photo's edges alone, not cut by its colours", file=sys.stderr)
    where = shown(options.static)
    print(f"index.html and what it needs are in {where}; to try it: python -m http.server -d {where}")
    return 0


def _detector(options: argparse.Namespace) -> Detector:
    start_jax()

    from sgdbd_jax.detection.detector import Detector

    return Detector.load(options.weights, work_size=options.work_size, refine=command.asked_refinement(options))


def _listening(host: str, port: int) -> socket.socket:
    """A socket that waits for connections.

    Raises:
        UserError: another program has the port, or the machine is not `host`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        wrong = "--port" if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise UserError(f"{host}, port {port}: cannot be listened on ({reason}); choose another by {wrong}") from error


def _has_a_screen() -> bool:
    """Whether a browser would come up in a window, and not take over the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.serve", description="Serves a page to drop photos on, or writes it as files."
    )
    command.add_weights(parser)
    command.add_work_size(parser)
    serving = parser.add_argument_group("to serve it")
    serving.add_argument("--port", type=_port, default=PORT, metavar="N", help="%(default)s; 0 takes a free one")
    serving.add_argument(
        "--host",
        default=HOST,
        metavar="NAME",
        help="who may reach it: %(default)s this machine alone; its own address or name, others too",
    )
    for name, what in (("--max_bytes", "a photo's file"), ("--max_pixels", "a photo")):
        serving.add_argument(name, type=_positive, default=MOST, metavar="N", help=f"of {what}; %(default)s")
    serving.add_argument("--no_open", action="store_true", help="leave the browser alone")
    static = parser.add_argument_group("to write it")
    static.add_argument(
        "--static", type=Path, metavar="DIR", help="write the page as files, for any web host; photos stay in browsers"
    )
    static.add_argument(
        "--runtime",
        type=Path,
        metavar="DIR",
        help="onnxruntime-web, unpacked, to copy; else npm fetches it, once",
    )
    return parser


def _port(text: str) -> int:
    if not 0 <= int(text) < 65536:
        raise ValueError(text)  # argparse makes a sentence of it
    return int(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


if __name__ == "__main__":
    command.run(main)

"""The page's server: it holds the detector, and answers its page and whoever asks as its page does.

`POST /api/mask` takes the bytes of a photo and gives its mask; `POST /api/photo` gives the photo itself as a PNG, for
files that browsers show otherwise or not at all. Whatever cannot be answered is told in one line of JSON,
`{"error": ...}`, but for what is no HTTP.
"""

from __future__ import annotations

import functools
import io
import ipaddress
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sgdbd_jax.data.formats import SUFFIXES
from sgdbd_jax.data.photos import decode_photo
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.detection.focus import measure
from sgdbd_jax.errors import UserError
from sgdbd_jax.folders.outputs import eight_bits
from sgdbd_jax.folders.record import focus_row
from sgdbd_jax.page.files import ASSETS, page_html
from sgdbd_jax.pictures import mask_png, png

AT_ONCE = 2  # photos a device: while one is in the network, another is decoded or encoded
HELD = 4  # photos a device whose bytes are in memory
WAITING = 64  # photos that wait for it; more are told to come again
SECONDS = 120.0  # that a photo may take to come, while others wait
PNG, JSON = "image/png", "application/json"
HEADERS = {  # of every answer
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest is in the page itself
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Limits:
    """What is refused."""

    bytes: int  # of a photo's file
    pixels: int  # of a photo


def make_app(detector: Detector, limits: Limits, *, host: str = "127.0.0.1") -> Starlette:
    """The page and its interface, as an ASGI application.

    Args:
        detector: gives the masks, on each of this process's devices, of one photo at a time each.
        limits: of photos.
        host: the name that it is reached by, beside `localhost`, this machine's name and any IP address.
    """
    service = _Service(detector, limits)
    page = page_html({"mode": "server", "bytes": limits.bytes, "suffixes": ",".join(sorted(SUFFIXES))})
    files = [
        Route("/", functools.partial(_file, page, "text/html")),
        *(
            Route(f"/{name}", functools.partial(_file, (ASSETS / name).read_bytes(), kind))
            for name, kind in (("style.css", "text/css"), ("page.js", "text/javascript"))
        ),
    ]
    return Starlette(
        routes=[
            *files,
            Route("/api/mask", service.mask, methods=["POST"]),
            Route("/api/photo", service.photo, methods=["POST"]),
        ],
        middleware=[Middleware(_Guard, names={"localhost", socket.gethostname().lower(), host.lower()})],
        exception_handlers={HTTPException: _told, 500: _failed},
    )


class _Service:
    """What the interface's addresses answer."""

    def __init__(self, detector: Detector, limits: Limits) -> None:
        self._detectors, self._limits = Detectors(detector), limits
        self._waiting = 0
        self._limiters: tuple[
            anyio.CapacityLimiter, ...
        ] = ()  # can be made only where they are used, in the event loop

    async def mask(self, request: Request) -> Response:
        """The mask, a PNG, with the numbers in the header `Focus`; or as JSON the numbers alone."""
        kind = _wanted(request, PNG, JSON)
        return await self._answer(request, functools.partial(self._mask, kind=kind))

    async def photo(self, request: Request) -> Response:
        """The photo as a detector sees it, upright and in sRGB."""
        _wanted(request, PNG)
        return await self._answer(request, self._photo)

    async def _answer(self, request: Request, work: Callable[[bytes], Response]) -> Response:
        if self._waiting >= WAITING:
            raise HTTPException(503, f"{WAITING} photos are waiting; send this one again later", {"Retry-After": "5"})
        count = len(self._detectors)
        self._limiters = self._limiters or (anyio.CapacityLimiter(HELD * count), anyio.CapacityLimiter(AT_ONCE * count))
        held, turn = self._limiters
        self._waiting += 1
        try:
            async with held:
                with anyio.fail_after(SECONDS):
                    data = await self._body(request)
                return await anyio.to_thread.run_sync(work, data, limiter=turn)
        except TimeoutError as error:
            raise HTTPException(408, f"the photo's file did not come within {SECONDS:g} seconds") from error
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        finally:
            self._waiting -= 1

    async def _body(self, request: Request) -> bytes:
        """What was sent, if it can be a photo."""
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not (kind.startswith("image/") or kind == "application/octet-stream"):
            raise HTTPException(
                415,
                f"Content-Type is {kind or 'missing'}; send the bytes of a photo's file, as image/jpeg, image/png or"
                " whatever it is, or as application/octet-stream",
            )
        if coded := request.headers.get("Content-Encoding"):
            raise HTTPException(415, f"Content-Encoding {coded} is not read; send the photo's file as it is")
        most = self._limits.bytes
        too_large = HTTPException(413, f"a photo's file may have {most:,} bytes, this one has more; scale it down")
        length = request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > most:
            raise too_large
        data = io.BytesIO()
        async for chunk in request.stream():
            data.write(chunk)
            if data.tell() > most:
                raise too_large
        if not data.tell():
            raise HTTPException(400, "nothing was sent; send the bytes of a photo's file")
        return data.getvalue()  # which copies nothing

    def _decoded(self, data: bytes, notes: list[str]) -> Any:
        try:
            return decode_photo(data, name="photo", max_pixels=self._limits.pixels, note=notes.append)
        except UserError as error:
            large = isinstance(error.__cause__, Image.DecompressionBombError)
            raise HTTPException(413 if large else 400, str(error).removeprefix("photo: ")) from error

    def _mask(self, data: bytes, kind: str) -> Response:
        notes: list[str] = []
        photo = self._decoded(data, notes)
        with self._detectors.free() as see:
            seen = see(photo)
        mask = self._detectors.detector.finish(photo, seen)
        height, width = mask.shape
        numbers = {"width": width, "height": height, **focus_row(measure(photo, mask, seen.mask)), "notes": notes}
        if kind == JSON:
            return JSONResponse(numbers)
        return Response(mask_png(eight_bits(mask)), media_type=PNG, headers={"Focus": json.dumps(numbers)})

    def _photo(self, data: bytes) -> Response:
        return Response(png(self._decoded(data, []), compress_level=1), media_type=PNG)


class _Guard:
    """Refuses what a page of another site sends, and what comes by a name that is not this server's.

    Any page in a visitor's browser can send requests to this machine, and a name of its own that leads here would let
    it read the answers too. Numbers are no such names.
    """

    def __init__(self, app: ASGIApp, names: set[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refused(Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refused(self, headers: Headers) -> Response | None:
        host, origin = headers.get("Host", ""), headers.get("Origin")
        name = _host_name(host)
        if name not in self._names and not _is_address(name):
            return _error(421, f"this server is not called {name or 'nothing'}; start it with --host and its name")
        if origin is not None and origin.partition("://")[2] != host:
            return _error(403, "pages of other sites are not answered; open the page of this server")
        return None


def _file(content: bytes, kind: str, request: Request) -> Response:
    return Response(content, media_type=kind)


def _wanted(request: Request, *kinds: str) -> str:
    """The kind that a request's `Accept` likes most; of those that it likes as much, the first."""
    accept = ",".join(request.headers.getlist("Accept")) or "*/*"
    likes = {}
    for part in accept.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        try:
            likes[name] = float(weight)
        except ValueError:
            likes[name] = 0.0

    def liked(kind: str) -> float:
        names = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        return next((likes[name] for name in names if name in likes), 0.0)

    best = max(kinds, key=liked)
    if liked(best) <= 0:
        raise HTTPException(406, f"the answer is {' or '.join(kinds)}, which Accept leaves out")
    return best


def _host_name(host: str) -> str:
    """A `Host` header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)


def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _error(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _failed(request: Request, error: Exception) -> Response:
    """Of a request that met a defect, or a lack of memory, which is told where the server was started."""
    answer = _error(500, f"this photo could not be worked on ({type(error).__name__}); the server goes on")
    answer.headers.update(HEADERS)  # outside of `_Guard`
    return answer

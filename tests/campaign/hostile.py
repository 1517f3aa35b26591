"""Input that means harm: names and texts that would be code in the report, weights that lie, pickles, downloads."""

import copy
import csv
import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import tiny_generators
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sgdbd_jax.errors import UserError

from . import batches, commands
from .cases import Case, Family, Lost, Skipped, attempt
from .commands import Command

# Names and metadata. A file's name holds no slash.

NAMES = [
    "<script>alert(1)<script>.jpg",
    "<img src=x onerror=alert(1)>.jpg",
    '"><svg onload=alert(1)>.png',
    "' onmouseover='alert(1).jpg",
    "javascript:alert(1).jpg",
    "--><!-- ]]> <![CDATA[.jpg",
    "{style} {0} %s %(x)s $x `x`.jpg",
    "&lt;b&gt;&amp;&#60;.jpg",
    "two\nlines\r.jpg",
    "\x1b[2J\x1b]0;title\x07.jpg",
    "tab\t and bell\a.jpg",
    "right to left \u202egpj.exe.jpg",
    "zero\u200bwidth \ufeff\u2066.jpg",
    "line\u2028paragraph\u2029next\x85.jpg",
    "no unicode \udcff\udcfe.jpg",
    '=HYPERLINK("x").jpg',
    "+1+cmd|' C'!A0.jpg",
    "-2+3.jpg",
    "@SUM(1).jpg",
    "\t=1+1.jpg",
    "  spaces  .jpg",
    "e\u0301.jpg",
    "\xe9.png",
    "\U0001f600\u5915\u65e5.jpg",
    "%2e%2e%2fup.jpg",
    "#fragment?query.jpg",
    "C:\\windows\\x.jpg",
    "$(touch owned).jpg",
    "nul.jpg",
    "'.jpg",
]


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)


def _hostile_photo(path: Path, level: int) -> None:
    """A photo, or for every fifth a file that is none, with hostile texts wherever a text may stand."""
    words = "<script>alert('metadata')</script>"
    photo = Image.fromarray(np.full((24, 32, 3), level, np.uint8))
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298):
        exif[tag] = words
    if level % 5 == 0:
        path.write_bytes(b"GIF89a" + words.encode())
    elif path.suffix == ".png":
        info = PngInfo()
        info.add_text("Title", words)
        info.add_itxt("XML:com.adobe.xmp", words)
        photo.save(path, pnginfo=info, exif=exif)
    else:
        photo.save(path, exif=exif, comment=words.encode(), icc_profile=words.encode() * 5, xmp=words.encode())


def pages(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """One folder of photos of hostile names, and what the report makes of each; a seed is a place among the names."""
    shutil.rmtree(folder, ignore_errors=True)
    commands.cache(folder)
    photos, out = folder / "photos", folder / "out"
    photos.mkdir(parents=True)
    plain = folder / "plain"
    plain.mkdir()
    for level, name in enumerate(NAMES, start=1):
        _hostile_photo(photos / name, level)
        _hostile_photo(plain / f"{level:02}{os.path.splitext(name)[1]}", level)
    weights = commands.make_weights(folder / "weights.safetensors")
    ends = {}
    for place in (photos, plain):
        result = out if place is photos else folder / "plain_out"
        command = Command(folder, [], commands.predict(place, result, weights))
        ends[place] = command.end()

    def counted(results: Path) -> dict[str, int]:
        """How often every kind of element stands in the pages of results."""
        counts: dict[str, int] = {}
        for path in sorted(results.rglob("*.html")):
            page = Page(path.read_text("utf-8"))
            for tag, attributes in page.tags:
                counts[tag] = counts.get(tag, 0) + 1
                for key, value in attributes.items():
                    if key.startswith("on") or (key in ("href", "src") and _runs(value or "")):
                        raise Lost(f"{path.name}: <{tag} {key}={value!r}>")
            if any("alert" in script for script in page.scripts):
                raise Lost(f"{path.name}: a script of the photos'")
        return counts

    def everything() -> str:
        (code, said), (plain_code, _) = ends[photos], ends[plain]
        if code != plain_code:
            raise Lost(f"ended with {code}, under plain names with {plain_code}")
        if counted(out) != counted(folder / "plain_out"):
            raise Lost("names or metadata made elements of the page")
        if "metadata" in "".join(path.read_text("utf-8") for path in out.rglob("*.html")):
            raise Lost("metadata stand in a page")
        if control := sorted({letter for letter in said if letter != "\n" and not letter.isprintable()}):
            raise Lost(f"control characters on the terminal: {control}")
        return f"ended with {code}"

    def one(name: str) -> str:
        path = str(photos / name)
        rows = [
            json.loads(line, strict=False) for line in (out / "report.jsonl").read_text("utf-8").split("\n") if line
        ]
        if [row["path"] for row in rows].count(path) != 1:
            raise Lost("not one line of report.jsonl")
        with (out / "report.csv").open(newline="", encoding="utf-8") as file:
            cells = [value for row in csv.DictReader(file) for key, value in row.items() if key in ("path", "name")]
        if formulas := [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell]:
            raise Lost(f"formulas in report.csv: {formulas[:3]}")
        row = next(row for row in rows if row["path"] == path)
        mask = out / f"{row['name']}.mask.png"
        if row["status"] == "done" and not (mask.is_file() and mask.resolve().is_relative_to(out)):
            raise Lost("no mask in the folder")
        return row["status"]

    for seed in seeds:
        what = "all names and metadata" if seed == 0 else f"a photo called {NAMES[seed - 1]!a}"
        yield attempt(seed, what, everything if seed == 0 else functools.partial(one, NAMES[seed - 1]))


def _runs(link: str) -> bool:
    return link.strip().lower().startswith(("javascript:", "data:text", "vbscript:", "//", "http"))


# Weights that lie, each loaded in a process that is bounded.


def _file(header: Any, body: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def _true() -> tuple[dict[str, Any], bytes]:
    """Header and body of a tiny generator's file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = tiny_generators.save_generator(Path(folder) / "g.safetensors", tiny_generators.random_variables())
        data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _config(**changes: object) -> Callable[[dict[str, Any], bytes], bytes]:
    """A lie in the metadata's config."""

    def lie(header: dict[str, Any], body: bytes) -> bytes:
        config = json.loads(header["__metadata__"]["config"]) | changes
        header["__metadata__"]["config"] = json.dumps(config)
        return _file(header, body)

    return lie


def _meta(**changes: object) -> Callable[[dict[str, Any], bytes], bytes]:
    """A lie in the metadata."""

    def lie(header: dict[str, Any], body: bytes) -> bytes:
        header["__metadata__"] |= {key: json.dumps(value) for key, value in changes.items()}
        return _file(header, body)

    return lie


def _tensor(**changes: object) -> Callable[[dict[str, Any], bytes], bytes]:
    """A lie in the entry of one tensor."""

    def lie(header: dict[str, Any], body: bytes) -> bytes:
        header["params/head/kernel"] |= changes
        return _file(header, body)

    return lie


def _retyped(dtype: str, bytes_: float) -> Callable[[dict[str, Any], bytes], bytes]:
    """The same bytes as numbers of another type, more or fewer of them."""

    def lie(header: dict[str, Any], body: bytes) -> bytes:
        entry = header["params/head/kernel"]
        entry |= {"dtype": dtype, "shape": [int(np.prod(entry["shape"]) * 4 / bytes_)]}
        return _file(header, body)

    return lie


def _values(value: float) -> Callable[[dict[str, Any], bytes], bytes]:
    """A value that makes a mask NaN, in the last layer."""

    def lie(header: dict[str, Any], body: bytes) -> bytes:
        start, end = header["params/head/kernel"]["data_offsets"]
        return _file(header, body[:start] + struct.pack("<f", value) * ((end - start) // 4) + body[end:])

    return lie


def _float16(header: dict[str, Any], body: bytes) -> bytes:
    """Halves: what is too large for them is infinite there."""
    start, end = header["params/head/kernel"]["data_offsets"]
    half = np.full((end - start) // 4, 1e6).astype(np.float32)
    with np.errstate(over="ignore"):
        part = half.astype(np.float16).tobytes()
    fewer = len(part) - (end - start)
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [place + fewer for place in entry["data_offsets"]]
    header["params/head/kernel"] |= {"dtype": "F16", "data_offsets": [start, start + len(part)]}
    return _file(header, body[:start] + part + body[end:])


def _without(header: dict[str, Any], body: bytes) -> bytes:
    """A tensor fewer, its bytes taken by the one before."""
    header.pop("params/head/bias")
    return _file(header, body)


def _renamed(name: str) -> Callable[[dict[str, Any], bytes], bytes]:
    def lie(header: dict[str, Any], body: bytes) -> bytes:
        header[name] = header.pop("params/head/kernel")
        return _file(header, body)

    return lie


LIES: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "an empty file": lambda header, body: b"",
    "a header of 2^63 bytes": lambda header, body: _file(header, body, length=2**63),
    "a header of 2^64 - 1 bytes": lambda header, body: _file(header, body, length=2**64 - 1),
    "a header of 90 MB": lambda header, body: _file(header, body, length=90_000_000),
    "a header longer than the file": lambda header, body: _file(header, b"", length=10**6),
    "a header cut short": lambda header, body: _file(json.dumps(header).encode()[:500], body),
    "a header that is a list": lambda header, body: _file([1, 2], body),
    "a header nested deeply": lambda header, body: _file(b"[" * 100_000, body),
    "a header that is no Unicode": lambda header, body: _file(b'{"\xff": 1}', body),
    "no metadata": lambda header, body: _file({k: v for k, v in header.items() if k != "__metadata__"}, body),
    "a body cut short": lambda header, body: _file(header, body[:-10]),
    "a body too long": lambda header, body: _file(header, body + bytes(10)),
    "no body": lambda header, body: _file(header, b""),
    "a tensor fewer": _without,
    "a tensor of another name": _renamed("params/head/kernels"),
    "a tensor named as a folder above": _renamed("../../params/head/kernel"),
    "a tensor named as a branch": _renamed("params/head"),
    "a tensor without a name": _renamed(""),
    "a shape of another size": _tensor(shape=[1, 1, 7, 1]),
    "a shape turned round": _tensor(shape=[1, 1]),
    "a shape of 2^62": _tensor(shape=[2**62, 4]),
    "a shape of 2^64": _tensor(shape=[2**64]),
    "a negative shape": _tensor(shape=[-1, 1, 1, 1]),
    "offsets turned round": _tensor(data_offsets=[8, 0]),
    "offsets beyond the file": _tensor(data_offsets=[0, 2**40]),
    "a type that is unknown": _tensor(dtype="F33"),
    "a type of other bytes": _tensor(dtype="F64"),
    "whole numbers": lambda header, body: _file(
        {name: entry if name == "__metadata__" else {**entry, "dtype": "I32"} for name, entry in header.items()}, body
    ),
    "brain floats": _tensor(dtype="BF16"),
    "bytes": _retyped("U8", 1),
    "numbers of 8 bits": _retyped("F8_E5M2", 1),
    "numbers of 4 bits": _retyped("F4", 0.5),
    "a value that is NaN": _values(float("nan")),
    "a value that is infinite": _values(float("inf")),
    "values beyond a mask's": _values(3e38),
    "float16 beyond its range": _float16,
    "another kind": _meta(kind="classifier"),
    "a kind that is a list": _meta(kind=[1]),
    "another format": lambda header, body: _meta()(header | {"__metadata__": {"format": "x"}}, body),
    "a config that is a list": _meta(config=[1]),
    "a config that is missing": _meta(config=None),
    "a width of 10^9": _config(width=1e9),
    "a width that is NaN": _config(width=float("nan")),
    "a width below 0": _config(width=-1.0),
    "a width that is a text": _config(width="1"),
    "blocks of 10^9 features": _config(blocks=[[[10**9, 3]], [[10**9, 3]], [[10**9, 3]], [[10**9, 3]]]),
    "kernels of 10,001 pixels": _config(blocks=[[[8, 10_001]], [[8, 3]], [[8, 3]], [[8, 3]]]),
    "no blocks": _config(blocks=[]),
    "a field that is unknown": _config(surprise=1),
    "a work size of 10^9": _meta(prediction={"work_size": 10**9}),
    "a work size that is a list": _meta(prediction={"work_size": [1]}),
    "a prediction that is a text": _meta(prediction="yes"),
    "a refinement that is unknown": _meta(prediction={"refinement": {"surprise": 1}}),
    "a refinement of texts": _meta(prediction={"refinement": {"radius": "x"}}),
    "a refinement that is a list": _meta(prediction={"refinement": [1]}),
    "a mean that is NaN": _config(input={"mean": [float("nan")] * 3, "std": [1, 1, 1]}),
    "a deviation of 0": _config(input={"mean": [0, 0, 0], "std": [0, 0, 0]}),
    "metadata that are no JSON": lambda header, body: _file(
        header | {"__metadata__": header["__metadata__"] | {"config": "{"}}, body
    ),
}


@functools.cache
def _template() -> tuple[dict[str, Any], bytes]:
    return _true()


def lying_weights(seed: int, folder: Path) -> tuple[str, Callable[[], str]]:
    """A weight file that lies; if it is taken all the same, its mask must be one."""
    from sgdbd_jax.detection.detector import Detector

    what = list(LIES)[seed]
    header, body = _template()
    path = folder / f"{seed}.safetensors"
    path.write_bytes(LIES[what](copy.deepcopy(header), body))

    def trial() -> str:
        photo = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
        mask = Detector.load(path)(photo)
        if mask.shape != (32, 48) or not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
            raise Lost(f"a mask of {mask.dtype} {mask.shape}, from {mask.min()} to {mask.max()}")
        return "a mask"

    return f"weights: {what}", trial


# Pickles: nothing may be run.


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def _npz(bomb: Bomb) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"conv1_1/kernel": np.array([bomb], dtype=object)})
    return file.getvalue()


def _torch_zip(bomb: Bomb) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(bomb, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return file.getvalue()


PICKLES: dict[str, Callable[[Bomb], bytes]] = {"a pickle": pickle.dumps, "an archive": _torch_zip, "NumPy's": _npz}
READERS = ("predict", "train", "evaluate", "convert_release", *(f"port_vgg16{end}" for end in (".pth", ".h5", ".npz")))
READERS += ("port_vgg16.safetensors", "train --vgg16", "checkpoint")


def pickles(seed: int, folder: Path) -> tuple[str, Callable[[], str]]:
    """A pickle bomb, given to one of the readers."""
    reader, (kind, make) = READERS[seed % len(READERS)], list(PICKLES.items())[seed // len(READERS)]
    place = folder / str(seed)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    ending = os.path.splitext(reader)[1] if reader.startswith("port_vgg16") else ".pth"
    bomb = Bomb(place / "exploded")
    path = place / f"bomb{ending}"
    path.write_bytes(make(bomb))

    def trial() -> str:
        try:
            _read(reader, path, place)
        except UserError as error:
            told = str(error)
        else:
            raise Lost("taken as weights")
        if bomb.path.exists():
            raise Lost("it was run")
        return f"refused: {told}"

    return f"{kind} as weights of {reader}", trial


def _read(reader: str, path: Path, place: Path) -> None:
    from experiments import convert_release, port_vgg16
    from sgdbd_jax.config import Config
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.fields import replace
    from sgdbd_jax.training.checkpoint import Checkpoints
    from sgdbd_jax.training.start import load_start

    def needs(library: str) -> None:
        try:
            __import__(library)
        except ImportError as error:
            raise Skipped(f"{library} is not installed") from error

    if reader in ("predict", "evaluate"):
        Detector.load(path)
    elif reader == "train":
        load_start(replace(Config(), {"start.generator_weights": str(path)}))
    elif reader == "train --vgg16":
        load_start(replace(Config(), {"start.vgg16": str(path)}))
    elif reader == "convert_release":
        needs("torch")
        convert_release.main(["--generator", str(path), "--out", str(place / "out.safetensors")])
    elif reader == "checkpoint":
        _read_checkpoint(Checkpoints, path, place)
    else:
        needs({".pth": "torch", ".h5": "h5py"}.get(path.suffix, "numpy"))
        port_vgg16.main(["--source", str(path), "--input", "hed", "--out", str(place / "out.safetensors")])


def _read_checkpoint(checkpoints: Any, path: Path, place: Path) -> None:
    """A checkpoint whose every file is the bomb, without the checksums that would tell."""
    state = {"kernel": np.ones(8, np.float32)}
    kept = checkpoints(place / "kept", keep=1)
    kept.save(1, state)
    kept.close()
    for file in (place / "kept" / "1").rglob("*"):
        if file.is_file():
            file.unlink() if file.name == "checksums.json" else shutil.copy(path, file)
    kept = checkpoints(place / "kept", keep=1)
    try:
        kept.restore(1, state)
    finally:
        kept.close()


# Downloads.


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body: bytes = self.server.body  # type: ignore[attr-defined]
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:])

    def log_message(self, *_: object) -> None:
        pass


DOWNLOADS = ("another file", "one bit", "a cut file", "a longer file", "an empty file", "a wrong part", "a wrong file")


def downloads(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """A server on this machine that gives another file than was promised; a seed is a place in the list."""
    from sgdbd_jax.porting.download import download

    right = np.random.default_rng(0).bytes(100_000)
    promised = hashlib.sha256(right).hexdigest()
    wrong = {
        "another file": b"another",
        "one bit": bytes([right[0] ^ 1]) + right[1:],
        "a cut file": right[:-1],
        "a longer file": right + b"\0",
        "an empty file": b"",
    }
    os.environ["no_proxy"] = "127.0.0.1"

    def trial(what: str) -> str:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        (folder / "cache").mkdir(parents=True)
        path = folder / "cache" / "weights.bin"
        if what == "a wrong part":
            path.with_name("weights.bin.part").write_bytes(b"what lay there")
        if what == "a wrong file":
            path.write_bytes(b"what lay there")
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
            server.body = wrong.get(what, right)  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            try:
                download(f"http://127.0.0.1:{server.server_port}/weights.bin", path, sha256=promised)
            except UserError as error:
                told = str(error)
            else:
                raise Lost("taken")
            finally:
                server.shutdown()
        if promised not in told:
            raise Lost(f"the digest is not told: {told}")
        left = {each.name: each.read_bytes() for each in path.parent.iterdir()}
        if left != ({"weights.bin": b"what lay there"} if what == "a wrong file" else {}):
            raise Lost(f"left behind: {sorted(left)}")
        return f"refused: {told}"

    for seed in seeds:
        what = DOWNLOADS[seed]
        yield attempt(seed, f"a download that brings {what}", functools.partial(trial, what))


def _lying(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    return batches.run("campaign.hostile:lying_weights", seeds, folder, size=60, seconds=60)


def _pickles(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    return batches.run("campaign.hostile:pickles", seeds, folder, size=60, seconds=60)


FAMILIES = [
    Family("pages", "hostile names and metadata in the report", len(NAMES) + 1, len(NAMES) + 1, pages),
    Family("weights", "weights that lie", len(LIES), len(LIES), _lying),
    Family("pickles", "pickles as weights", len(READERS) * len(PICKLES), len(READERS), _pickles),
    Family("downloads", "downloads of another digest", len(DOWNLOADS), len(DOWNLOADS), downloads),
]

"""Where photos are read and results are written that other machines see too: folders, S3, GCS, HTTP, by fsspec."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from sgdbd_jax.data.formats import EXPECTED, has_photo_suffix
from sgdbd_jax.data.listing import bare_name, is_result
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.extra import needed
from sgdbd_jax.files import check_folder, write_atomically
from sgdbd_jax.folders.inputs import expand, find_photos
from sgdbd_jax.folders.thumbnails import FOLDER as THUMBNAILS
from sgdbd_jax.video.reading import is_clip

CHUNK = 2**20  # bytes that are read at a time
AT_ONCE = 2**26  # bytes that are asked for at a time; a photo seldom has more
MOST = 2**32  # bytes of a photo
THREADS = 32  # that ask for files
REPORT = "report.parquet"  # a folder in that of the results
NO_CLIPS = "a clip, which --ray does not do"
NO_TEXT = "its name is no Unicode, as --ray needs it"
# What tells a file from another that takes its place, by file system: a hash or, where there is none, times.
TAGS = ("ETag", "etag", "md5Hash", "Content-MD5")
TIMES = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "created")


@dataclass(frozen=True, slots=True)
class RemotePhoto:
    """A file that is to be read as a photo, by whichever machine.

    Attributes:
        absolute: its URL, or the absolute path of a file of a folder that all machines share.
        place: under the folder that was asked for, without its extension; leads nowhere else.
        identity: as `identity` gives it, where a listing told it, else empty.
    """

    absolute: str
    place: str
    identity: str = ""

    @property
    def clip(self) -> bool:
        """Whether it is a video, which none is."""
        return False


@dataclass
class Found:
    """What arguments stand for; as `folders.inputs.Inputs` has it."""

    photos: list[RemotePhoto] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    clips_left: list[str] = field(default_factory=list)


def is_url(text: str) -> bool:
    """Whether a name begins with a protocol."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def find_remote(arguments: Iterable[str], *, recursive: bool, read_list: Callable[[], bytes]) -> Found:
    """Finds photos by paths and URLs.

    Paths, and `file://`, stand for what `find_photos` says. A URL that ends as photos' names do is one, and is asked
    for when it is read. Another is that of a file, a folder or, with `*`, `?` or `[`, a pattern of files; on the web a
    folder's ends in `/`, its page names the files, and `*` alone makes a pattern. Photos in folders are told by their
    names.

    Args:
        arguments, recursive, read_list: as `find_photos` takes them.
    """
    found, urls, paths = Found(), [], []
    for argument in expand(arguments, read_list):
        if not is_url(argument):
            paths.append(argument)
        elif not _is_text(argument):
            found.refused[shown(argument)] = NO_TEXT
        elif argument.lower().startswith("file://"):
            paths.append(_opened(argument)[1])
        else:
            urls.append(argument)
    inputs = find_photos(paths, recursive=recursive, read_list=lambda: b"")
    found.refused |= {shown(path) if not _is_text(path) else path: why for path, why in inputs.refused.items()}
    found.results |= set(map(str, inputs.results))
    found.clips_left += map(str, inputs.clips_left)
    seen = set[str]()

    def take(photo: RemotePhoto) -> None:
        if is_result(last_part(photo.absolute)) or photo.place.lower().startswith(f"{REPORT}/"):
            found.results.add(photo.absolute)
        elif photo.absolute not in seen:
            seen.add(photo.absolute)
            found.photos.append(photo)

    for file in inputs.photos:
        if not _is_text(file.absolute):
            found.refused[shown(file.path)] = NO_TEXT
        elif file.clip:
            found.refused[str(file.path)] = NO_CLIPS
        else:
            take(RemotePhoto(file.absolute, file.place))

    def listed(url: str) -> list[RemotePhoto] | str:
        try:
            return _listed(url, recursive, found)
        except Exception as error:  # whatever the protocol's library raises
            return f"cannot be listed ({reason(error)})"

    for url, photos in zip(urls, work_ahead(listed, urls, workers=THREADS)):
        if isinstance(photos, str):
            found.refused[url] = photos
            continue
        for photo in photos:
            take(photo)
    return found


def identity(info: dict[str, Any]) -> str:
    """Names the content of a file by what its file system says of it; empty where that is too little."""
    tags = [str(info[tag]) for tag in TAGS if info.get(tag)][:1]
    times = (info[tag] for tag in TIMES if info.get(tag) is not None)
    tags = tags or [str(time.timestamp() if isinstance(time, datetime) else time) for time in times]
    return " ".join([str(info.get("size")), *tags]) if tags else ""


def identity_of(url: str) -> str:
    """As `identity`, of a file that is asked for; empty where there is none."""
    try:
        files, path = _opened(url)
        files.invalidate_cache()
        return identity(files.info(path))
    except Exception:  # which whoever reads it will tell
        return ""


def read(url: str, most: int = MOST) -> Iterator[bytes]:
    """Reads a photo's file bit by bit.

    Args:
        url: of the photo, or its path.
        most: bytes that it may have.

    Raises:
        UserError: it cannot be read, or has more; without its name.
    """
    count = 0
    try:
        files, path = _opened(url)
        with files.open(path, "rb", block_size=0 if _is_web(files) else AT_ONCE) as source:
            while data := source.read(CHUNK):
                count += len(data)
                if count > most:
                    raise UserError(f"has more than {most:,} bytes")
                yield data
    except UserError:
        raise
    except Exception as error:
        why = error.__cause__ if isinstance(error, FileNotFoundError) else error  # on the web it stands for all errors
        if why is None or isinstance(why, FileNotFoundError) or getattr(why, "status", None) == 404:
            raise UserError("no such file") from error
        raise UserError(f"cannot be read ({reason(why)})") from error


class Folder:
    """A folder of results, on a disk that all machines share or in an object store.

    Args:
        url: of the folder, or its path.

    Raises:
        UserError: there is no such protocol, or its package is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or "/"
        try:
            self._files, self._root = _opened(url)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{url}: cannot be written ({reason(error)})") from error
        self._root = self._root.rstrip("/")
        self.local = "file" in _protocols(self._files)

    @property
    def path(self) -> str:
        """Of a folder on a disk."""
        return self._root or "/"

    def check(self) -> None:
        """Refuses a folder that cannot be written; leaves nothing behind.

        Raises:
            UserError: it cannot, or other machines would not see it.
        """
        if self.local:
            check_folder(self.path)
        elif "memory" in _protocols(self._files):
            raise UserError(f"{self.url}: each process has its own; name a folder, or an object store's URL")
        else:
            self.write(".sgdbd", b"")
            self.remove(".sgdbd")

    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole, in place of another.

        Raises:
            UserError: it cannot be written.
        """
        path = f"{self._root}/{name}"
        if self.local:
            write_atomically(path, data)
            return
        with self._telling(name, "written"):
            self._files.pipe_file(path, data)

    def has(self, name: str) -> bool:
        """Whether there is such a file.

        Raises:
            UserError: it cannot be told.
        """
        with self._telling(name, "read"):
            return self._files.exists(f"{self._root}/{name}")

    def read(self, name: str) -> bytes:
        """A file.

        Raises:
            UserError: it cannot be read.
        """
        with self._telling(name, "read"):
            return self._files.cat_file(f"{self._root}/{name}")

    def remove(self, name: str) -> None:
        """Removes a file.

        Raises:
            UserError: it cannot be removed.
        """
        with self._telling(name, "removed"):
            self._files.rm_file(f"{self._root}/{name}")

    def sizes(self, under: str = "") -> dict[str, int]:
        """The bytes of all files in the folder, or in one under it, and in its folders, by their names here.

        Raises:
            UserError: they cannot be listed.
        """
        top = f"{self._root}/{under}".rstrip("/")
        with self._telling(under, "listed"):
            self._files.invalidate_cache()
            if not self._files.exists(top):
                return {}
            if not self._files.isdir(top):
                raise UserError("is no folder; move it away, or name another --out")
            files = self._files.find(top, detail=True)
        return {path[len(self._root) + 1 :]: info.get("size") for path, info in files.items()}

    @contextlib.contextmanager
    def _telling(self, name: str, done: str) -> Iterator[None]:
        name = f"{self.url}/{name}".rstrip("/")
        try:
            yield
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        except Exception as error:
            raise UserError(f"{name}: cannot be {done} ({reason(error)})") from error


def last_part(url: str) -> str:
    """The last part of the name of a URL or path."""
    return (urlsplit(url).path if url.startswith(("http://", "https://")) else url).rpartition("/")[2]


def reason(error: BaseException) -> str:
    """What a library's error says, in one line that is not long."""
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    if "Traceback" in text:
        text = text.strip().splitlines()[-1]
    return " ".join(text.split())[:300] or type(error).__name__


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL or path, and the file's name in it."""
    fsspec = needed("fsspec", "--ray")
    if is_url(url):
        return fsspec.core.url_to_fs(url)
    return fsspec.filesystem("file"), os.path.abspath(url)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _is_web(files: Any) -> bool:
    return "http" in _protocols(files)


def _listed(url: str, recursive: bool, found: Found) -> list[RemotePhoto] | str:
    """The photos of a URL, or why there are none; what else there is in a folder is added to `found`."""
    files, path = _opened(url)
    web = _is_web(files)
    if any(sign in path for sign in ("*" if web else "*?[")):
        matches = {name: info for name, info in files.glob(path, detail=True).items() if info["type"] == "file"}
        if matches:
            return _photos(files, matches, "", found) or f"no photos; expected {EXPECTED}"
    name = last_part(url)
    if has_photo_suffix(name):
        return [RemotePhoto(url, _place(name, web))]
    if is_clip(name):
        return NO_CLIPS
    try:
        info = {"type": "directory"} if web and url.endswith("/") else files.info(path)
    except FileNotFoundError:
        return "no such file or folder"
    if info["type"] != "directory":
        return [RemotePhoto(url, _place(name, web), identity(info))]
    top = path.rstrip("/") + "/"
    if web:
        infos = _linked(files, top, recursive, found)
    elif recursive:
        infos = files.find(path, detail=True)
    else:
        infos = {each["name"]: each for each in files.ls(path, detail=True) if each["type"] == "file"}
    photos = _photos(files, infos, top, found)
    return photos or f"no photos; expected {EXPECTED}" + ("" if recursive else ", or --recursive for its folders")


def _linked(files: Any, top: str, recursive: bool, found: Found) -> dict[str, dict[str, Any]]:
    """What a page of the web has links to; those under it too, if wanted, each once, but through no `./` or `../`."""
    waiting, seen, linked = [top], {top}, dict[str, dict[str, Any]]()
    while waiting:
        page = waiting.pop()
        try:
            infos = files.ls(page, detail=True)
        except Exception as error:
            if page == top:
                raise
            found.refused[page] = f"cannot be listed ({reason(error)})"
            continue
        linked |= {info["name"]: info for info in infos if info["type"] == "file"}
        if recursive:
            pages = {info["name"] for info in infos if info["type"] == "directory"} - seen
            waiting += (name for name in pages if not re.search(r"/\.{1,2}/", name))
            seen |= pages
    return linked


def _photos(files: Any, infos: dict[str, dict[str, Any]], top: str, found: Found) -> list[RemotePhoto]:
    """Those of some files that are photos, by their names; clips are added to `found`.

    Args:
        files: the file system.
        infos: what is known of each file, by its name.
        top: begins the names of what is in the folder that was asked for; empty: there is none.
        found: has the clips.
    """
    photos = []
    for name, info in sorted(infos.items()):
        under = name.removeprefix(top) if top else last_part(name)
        if any(part.startswith(".") or part == THUMBNAILS for part in under.split("/")):
            continue
        if is_clip(last_part(name)):
            found.clips_left.append(files.unstrip_protocol(name))
        elif has_photo_suffix(last_part(name)):
            place = _place(under, _is_web(files))
            photos.append(RemotePhoto(files.unstrip_protocol(name), place, identity(info)))
    return photos


def _place(under: str, web: bool) -> str:
    """Where a file's results belong, by its name under a folder: never outside of theirs."""
    if web:
        under = re.split("[?#]", under)[0]
    parts = [unquote(part) if web else part for part in under.split("/")]
    parts = [re.sub("[/\0]", "_", part) for part in parts if part not in ("", ".", "..")]
    *above, last = parts or ["photo"]
    return "/".join([*above, bare_name(last)])

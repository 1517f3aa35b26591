"""From the arguments of `sgdbd` to photos, and to the names of their results."""

import errno
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sgdbd_jax.data.formats import EXPECTED, is_photo
from sgdbd_jax.data.listing import bare_name, is_result
from sgdbd_jax.data.names import MARK, NO_MARK, lacks_mark, marked_text
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.folders.naming import is_frame
from sgdbd_jax.folders.thumbnails import FOLDER as THUMBNAILS
from sgdbd_jax.video.reading import PROGRAMS, is_clip


@dataclass(frozen=True, slots=True)
class Photo:
    """A file that is to be read as a photo, or as a clip.

    Attributes:
        path: as the arguments have it.
        place: under the folder that was asked for, without its extension, as `trip/IMG_1`.
        clip: whether it is a video.
    """

    path: Path
    place: str
    clip: bool = False

    @property
    def absolute(self) -> str:
        """The path by which reports know the photo, wherever they are read."""
        return os.path.abspath(self.path)


@dataclass
class Inputs:
    """What arguments stand for.

    Attributes:
        photos: each file once, however many arguments and links lead to it; those of a folder sorted. Clips, too.
        refused: arguments, and folders under them, that give no photos, and why.
        results: files that were left out, for they are named as results of the command are, sidecars among them.
        clips_left: clips of folders that were left out.
    """

    photos: list[Photo] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    results: set[Path] = field(default_factory=set)
    clips_left: list[Path] = field(default_factory=list)


def find_photos(
    arguments: Iterable[str], *, recursive: bool, read_list: Callable[[], bytes], clips: bool = False
) -> Inputs:
    """Finds the photos, and the clips.

    Args:
        arguments: files; folders; patterns as `trips/**/*.jpg`; or `-`.
        recursive: also look into the folders of folders. Links to folders are not followed, so there are no loops.
        read_list: gives the list that `-` stands for: more arguments, one a line or, if it has a NUL byte anywhere,
            each ended by one, as `find -print0` writes them, for names with newlines. Names are bytes, as the system
            has them, unless the list begins with a byte order mark and is text of that encoding: UTF-8, 16 or 32.
            A mark that begins a name further down, as in joined lists, is no part of it unless such a file exists.
        clips: also take the clips of folders; those that arguments name are taken anyway, and `.ts` only so.

    Raises:
        UserError: the list seems to be UTF-16 without a mark.
    """
    inputs = Inputs()
    seen, folders = set(), dict[str, str]()
    for argument in expand(arguments, read_list):
        # What exists is meant as it stands, even if its name reads like a pattern.
        matches = [] if os.path.lexists(argument) else _matches(argument, inputs)
        for path in matches or [argument]:
            for photo in _photos(path, recursive, clips, inputs):
                if _is_result(photo.path, argument):
                    inputs.results.add(photo.path)
                elif (real := _real(photo.path, folders)) not in seen:
                    seen.add(real)
                    inputs.photos.append(photo)
    return inputs


def _is_result(path: Path, argument: str) -> bool:
    """Whether the command wrote a file, or it is named as sidecars are.

    A clip's frames are photos to whoever names their folder.
    """
    if is_result(path.name) or path.suffix.lower() == ".xmp" or THUMBNAILS in path.as_posix().split("/"):
        return True
    try:
        return path.parent != Path(argument) and is_frame(path)
    except OSError:  # which whoever reads the photo will tell
        return False


def expand(arguments: Iterable[str], read_list: Callable[[], bytes]) -> Iterator[str]:
    """The arguments, with those of the list in the place of `-`; as `find_photos` takes both."""
    for argument in arguments:
        if argument != "-":
            yield argument
            continue
        yield from _listed(read_list())


def _listed(data: bytes) -> Iterator[str]:
    marked = marked_text(data, errors="surrogateescape")
    text = os.fsdecode(data) if marked is None else marked
    names = text.split("\0") if "\0" in text else re.split("[\r\n]+", text)
    if marked is None and lacks_mark(data) and not all(os.path.lexists(name) for name in names if name):
        raise UserError(f"-: {NO_MARK}")
    for name in names:
        while name.startswith(MARK) and not os.path.lexists(name):  # joined lists have their marks further down
            name = name.removeprefix(MARK)
        if name:
            yield name


def _matches(pattern: str, inputs: Inputs) -> list[str]:
    """What a pattern stands for; hidden names only where it begins with their dot.

    `glob.glob` would follow links to folders under `**`, and two that lead back would keep it for ever.
    """
    if not glob.has_magic(pattern):
        return []
    path = Path(pattern)
    dots = any(part.startswith(".") for part in path.parts if part not in (".", ".."))
    matches = []
    try:
        for match in Path(path.anchor).glob(str(path.relative_to(path.anchor))):
            matches.append(Path(path.anchor, match))
    except (ValueError, NotImplementedError):  # such as `**.jpg`
        return []
    except OSError as error:  # such as a path too long; what was found is not lost
        inputs.refused[os.fsdecode(error.filename or pattern)] = f"cannot be listed ({error.strerror or error})"
    return sorted(str(match) for match in matches if dots or not any(part.startswith(".") for part in match.parts))


def _real(path: Path, folders: dict[str, str]) -> str:
    """As `os.path.realpath`, which asks for every folder on the way, but for those asked for before."""
    if os.path.islink(path):
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


def _photos(path: str, recursive: bool, clips: bool, inputs: Inputs) -> list[Photo]:
    """The photos of a file or folder; what else there is to say goes into `inputs`."""
    if os.path.isdir(path):
        return _photos_in(path, recursive, clips, inputs)
    if trouble := _trouble(path):
        inputs.refused[path] = trouble
        return []
    return [_photo(Path(path), Path(path).name)]


def _photo(path: Path, place: str) -> Photo:
    """That of a file, and of its place with the file's whole name."""
    clip = is_clip(path.name)
    bare = path.stem if clip else bare_name(path.name)
    return Photo(path, f"{place[: len(place) - len(path.name)]}{bare}", clip)


def _trouble(path: str | Path) -> str | None:
    """Why there is nothing to read, if so."""
    try:
        os.stat(path)
    except PermissionError as error:
        return f"cannot be read ({error.strerror})"
    except (OSError, ValueError) as error:
        if not os.path.islink(path):
            return "no such file or folder"
        loops = isinstance(error, OSError) and error.errno == errno.ELOOP
        return f"a link to {shown(os.readlink(path))} that leads " + ("back to itself" if loops else "nowhere")
    return None


def _photos_in(folder: str, recursive: bool, clips: bool, inputs: Inputs) -> list[Photo]:
    """The files of a folder that are photos, as `is_photo` tells them, or clips."""
    refused: dict[str, str] = {}

    def refuse(error: OSError) -> None:
        refused[error.filename] = f"cannot be listed ({error.strerror})"

    photos = []
    for place, subfolders, files in os.walk(folder, onerror=refuse):
        hidden = {name for name in subfolders if name.startswith(".") or name == THUMBNAILS}
        subfolders[:] = [name for name in subfolders if recursive and name not in hidden]
        for path in (Path(place, name) for name in files if not name.startswith(".")):
            if is_clip(path.name):
                if path.suffix.lower() == PROGRAMS:  # to be named
                    continue
                if not clips:
                    inputs.clips_left.append(path)
                    continue
            elif not is_photo(path):
                continue
            if os.path.islink(path) and (trouble := _trouble(path)):
                refused[str(path)] = trouble
            else:
                photos.append(_photo(path, path.relative_to(folder).as_posix()))
    if not photos and not refused:
        refused[folder] = f"no photos; expected {EXPECTED}" + ("" if recursive else ", or --recursive for its folders")
    inputs.refused |= refused
    return sorted(photos, key=lambda photo: photo.path.as_posix().split("/"))  # as paths sort, in less memory

"""`report.jsonl`, the record of a run: a line a photo, added as photos are done, so that a kill costs no more than one.

However many there are, a line costs the same; read, it takes no more memory than the photos' paths.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import atomic_file
from sgdbd_jax.folders.record import Record, from_line, to_line


class Records(Mapping[str, Record]):
    """The records of a file of lines by path, each read anew when it is asked for; of a path's lines the last counts.

    Lines that are damaged are left out, as is the one that a kill cut short. Without a file there are none.

    Raises:
        UserError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, int] = {}  # of lines in the file, in their order
        place = 0
        for line in self._lines(place):
            try:
                known = from_line(line).path
                self._places.pop(known, None)
                self._places[known] = place
            except ValueError:
                pass
            place += len(line)

    def __getitem__(self, path: str) -> Record:
        return from_line(next(self._lines(self._places[path])))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, path: object) -> bool:
        return path in self._places

    def _lines(self, place: int) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(place)
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self._path}: cannot be read ({error.strerror or error})") from error


class Appending:
    """A file of lines that is open to be added to.

    Args:
        path: the file, which must be there.

    Raises:
        UserError: it cannot be written; so do all its methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._telling():
            self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Appending:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._file.close()

    def add(self, record: Record) -> None:
        """Adds a line, which outlasts the process."""
        line = memoryview(to_line(record))
        with self._telling():
            self._check_place()  # or nobody would read the line
            while line:
                line = line[self._file.write(line) :]

    def check(self) -> None:
        """Refuses when the file was removed, or another took its place: what is beside it belongs to others, then."""
        with self._telling():
            self._check_place()

    def sync(self) -> None:
        """Has the lines outlast a power failure, too."""
        with self._telling():
            os.fsync(self._file.fileno())

    def _check_place(self) -> None:
        if not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            raise OSError(None, "another file is there now")

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror or error})") from error


def write_lines(path: Path, records: Iterable[Record]) -> None:
    """Writes a new file of lines in place of another, which may be the one that the records come from.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_file(path) as file:
        file.writelines(map(to_line, records))

"""What runs on the machines of a cluster: a photo from its URL to its results, and a count of what kills workers."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdbd_jax.backend import start_jax
from sgdbd_jax.cluster import places, report
from sgdbd_jax.data.formats import has_photo_suffix
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.extra import needed
from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.outputs import Results
from sgdbd_jax.folders.record import failure
from sgdbd_jax.folders.worker import DiskFailed, Worker, a_full_disk_failing_all

if TYPE_CHECKING:
    import pyarrow as pa

TRIES = 3  # workers that a photo may kill


@dataclasses.dataclass(frozen=True)
class Task:
    """What all photos get.

    Attributes:
        out: folder of the results, as `places.Folder` takes it.
        results: which files.
        settings: what these are made with, in words.
        max_pixels: of a photo; larger ones are refused.
    """

    out: str
    results: Results
    settings: str
    max_pixels: int


def schema() -> pa.Schema:
    """The columns that a worker gives."""
    pa = needed("pyarrow", "--ray")
    extra = pa.schema([("notes", pa.list_(pa.string())), ("fatal", pa.bool_())])
    return pa.unify_schemas([report.schema(), extra])


class Ledger:
    """An actor that knows which photos are at work, and how many workers died of each; also of a worker's start."""

    def __init__(self) -> None:
        self._tries = collections.Counter[str]()
        self._stopped = False

    def suspects(self, urls: Sequence[str]) -> bool:
        """Whether a worker died while one of these was at work."""
        return any(url in self._tries for url in urls)

    def enter(self, url: str) -> int | None:
        """Notes that a photo is at work; tells how many workers died of it before, or nothing if it is to be left."""
        if self._stopped:
            self.leave(url)  # of a worker that died on it
            return None
        self._tries[url] += 1
        return self._tries[url] - 1

    def leave(self, url: str) -> None:
        """Notes that it is so no more."""
        self._tries.pop(url, None)  # it may have been lost with its machine

    def stop(self) -> bool:
        """Has all photos left that are not at work yet; tells whether none is."""
        self._stopped = True
        return not self._tries


class ClusterWorker:
    """An actor that makes the results of photos.

    Of a batch several are at work at a time; if a worker died on it before, one, so that it shows which photo it was.

    Args:
        detector: a reference to the detector that gives the masks.
        task: what photos get.
        ledger: the `Ledger`.

    Raises:
        UserError: JAX cannot start on this machine, or workers die before they are ready.
    """

    def __init__(self, detector: Any, task: Task, ledger: Any) -> None:
        ray = needed("ray", "--ray")
        # A worker that takes the place of one that was killed has its name, and finds what that one left.
        me = ray.get_runtime_context().get_actor_id()
        if (ray.get(ledger.enter.remote(me)) or 0) >= TRIES:
            raise UserError(f"a worker died {TRIES} times as it started, perhaps for lack of memory")
        start_jax()
        self._get = ray.get
        self._detectors, self._task, self._ledger = Detectors(self._get(detector)), task, ledger
        self._out, self._schema = places.Folder(task.out), schema()
        self._folder = Path(tempfile.gettempdir(), f"sgdbd_ray-{me}")
        ray.get(ledger.leave.remote(me))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Works on photos.

        Args:
            batch: columns `path`, `name` and `identity`.

        Returns:
            The rows of the report, but of photos that were left, and columns `notes`, lines for the user, and `fatal`:
            no other photo's results can be written either.
        """
        photos = batch.to_pylist()
        one_by_one = self._get(self._ledger.suspects.remote([photo["path"] for photo in photos]))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)
        each = _Batch(self)
        try:
            rows = list(work_ahead(each.row, enumerate(photos), workers=1 if one_by_one else each.threads))
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return needed("pyarrow", "--ray").Table.from_pylist([row for row in rows if row], schema=self._schema)


class _Batch:
    def __init__(self, worker: ClusterWorker) -> None:
        self._folder, self._task, self._out = worker._folder, worker._task, worker._out
        self._get, self._ledger = worker._get, worker._ledger
        self._said: list[str] = []
        self._full = False
        self._worker = Worker(
            worker._detectors,
            self._folder,
            self._task.results,
            max_pixels=self._task.max_pixels,
            say=self._said.append,
            should_stop=lambda: self._full,
        )
        self.threads = self._worker.threads

    def row(self, numbered: tuple[int, dict[str, str]]) -> dict[str, Any] | None:
        """A photo's row, or nothing if it was left."""
        number, photo = numbered
        url, name, identity = photo["path"], photo["name"], photo["identity"]
        tries = None if self._full else self._get(self._ledger.enter.remote(url))
        if tries is None:
            return None
        last = places.last_part(url)
        suffix = os.path.splitext(last)[1] if has_photo_suffix(last) else ""
        local, fatal = Photo(self._folder / f"{number}{suffix}", str(number)), False
        try:
            if tries >= TRIES:
                raise UserError(f"{TRIES} workers died on it, perhaps for lack of memory")
            identity = identity or places.identity_of(url)
            try:
                with local.path.open("wb") as file:
                    file.writelines(places.read(url))
            except OSError as error:
                why = error.strerror or error
                raise DiskFailed(f"{local.path}: cannot be written ({why})") from error
            record = self._worker((local, str(number)))
            if record is None:
                return None
            with a_full_disk_failing_all() if self._out.local else contextlib.nullcontext():
                for ending in record.files:
                    self._out.write(name + ending, (self._folder / f"{number}{ending}").read_bytes())
        except DiskFailed as error:
            self._full = fatal = True
            record = failure(url, name, f"{platform.node()}: {error}")
        except Exception as error:  # whatever is wrong with this photo, the others go on
            record = failure(url, name, str(error) if isinstance(error, UserError) else repr(error))
        finally:
            self._get(self._ledger.leave.remote(url))
            for path in (local.path, *self._folder.glob(f"{number}.*")):
                path.unlink(missing_ok=True)
        record = dataclasses.replace(record, path=url, name=name, settings=self._task.settings)
        mine = f"{shown(local.path)}: "
        notes = [line.replace(mine, f"{shown(url)}: ") for line in self._said if mine in line]
        if record.status == "failed" and not any(line.startswith("error: ") for line in notes):
            notes.append(f"error: {shown(url)}: {record.error}")
        return report.row(record, identity) | {"notes": notes, "fatal": fatal}

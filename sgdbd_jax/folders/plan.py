"""Which photos are to be worked on, what their results are called, and what the report says before any work."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sgdbd_jax.data.photos import MAX_PIXELS
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.shipped import DEFAULT, weight_file
from sgdbd_jax.errors import shown
from sgdbd_jax.files import file_sha256, times
from sgdbd_jax.folders import report
from sgdbd_jax.folders.clips import ClipResults, result_size
from sgdbd_jax.folders.inputs import Inputs, Photo
from sgdbd_jax.folders.naming import fitting, name_results
from sgdbd_jax.folders.outputs import Results
from sgdbd_jax.folders.record import Record, failure
from sgdbd_jax.folders.sidecars import Sidecars
from sgdbd_jax.folders.thumbnails import has_thumbnails


@dataclass(frozen=True)
class Request:
    """What is wanted of photos, whichever they are.

    Attributes:
        out: folder of the results and the report.
        results: which files a photo gets.
        clips: which files a clip gets.
        weights: the generator's; `None`: those that come with the package.
        work_size, refine, full: as `Detector.load` takes them.
        max_pixels: of a photo; larger ones are refused.
        resume: whether photos are left out whose results are there already, made with the same settings.
        bursts: the longest time in seconds from one shot of a burst to the next; `None`: bursts are not looked for.
        sidecars: which ones photos get, if any; neither they nor bursts count as settings.
    """

    out: Path
    results: Results = Results()
    clips: ClipResults = ClipResults()
    weights: Path | None = None
    work_size: int | str | None = None
    refine: bool | Literal["edges", "colours"] = True
    full: bool = False
    max_pixels: int = MAX_PIXELS
    resume: bool = False
    bursts: float | None = None
    sidecars: Sidecars | None = None

    def load_detector(self) -> Detector:
        """The detector that makes the masks.

        Raises:
            UserError: as `Detector.load`.
        """
        return Detector.load(self.weights, work_size=self.work_size, refine=self.refine, full=self.full)

    def settings(self) -> str:
        """What decides how all results look, in words; reports of earlier runs hold the same words."""
        return (
            f"weights {file_sha256(self.weights or weight_file(DEFAULT))[:12]}, work_size {self.work_size},"
            f" no_refine {not self.refine}, {f'refine {self.refine}, ' if isinstance(self.refine, str) else ''}"
            f"full {self.full},"
            f" polarity {self.results.polarity}"
        )


@dataclass(frozen=True)
class Plan:
    """The work that a request makes of photos.

    Attributes:
        request: what is wanted.
        settings: the request's, in words.
        inputs: the photos, and the arguments that gave none.
        earlier: the report of earlier runs.
        kept: paths of the photos of which it stays as it is.
        jobs: photos to work on, with the names of their results.
    """

    request: Request
    settings: str
    inputs: Inputs
    earlier: Mapping[str, Record]
    kept: Sequence[str]
    jobs: Sequence[tuple[Photo, str]]

    def settings_of(self, clip: bool) -> str:
        """What the results of a photo, or of a clip, are made with, in words."""
        return settings_of(self.request, self.settings, clip)

    def records(self) -> Iterator[Record]:
        """What the report holds before any work: no photo to be worked on, and no bursts: a run finds them anew."""
        for path in self.kept:
            yield dataclasses.replace(self.earlier[path], burst=None, best=False)
        for path, reason in self.inputs.refused.items():
            yield failure(os.path.abspath(path), "", reason)


def make_plan(request: Request, inputs: Inputs, *, say: Callable[[str], None]) -> Plan:
    """Compares photos with the report of earlier runs in the same folder.

    In it other photos keep their names and their places.

    Args:
        request: what is wanted.
        inputs: the photos, and the arguments that gave none.
        say: takes a line for the user, on a photo whose results are called otherwise than it.

    Raises:
        UserError: that report cannot be read.
    """
    settings = request.settings()
    earlier = report.read(request.out)
    kept: dict[str, None] = {}  # in their order, and quick to find
    earlier_names = {}
    for path, record in earlier.items():
        if record.name:
            earlier_names[path] = record.name
        if record.status == "done":
            kept[path] = None
    for path in inputs.refused:
        kept.pop(os.path.abspath(path), None)
    jobs = []
    for photo, name in zip(inputs.photos, name_results(inputs.photos, earlier_names), strict=True):
        path = photo.absolute
        if path in kept:
            if request.resume and _is_done(request, settings, photo, name, earlier[path]):
                continue
            del kept[path]
        if name != photo.place:
            why = "is too long" if photo.place != fitting(photo.place) else "was taken"
            say(f"warning: {shown(photo.path)}: its results are called {shown(name)}; its name {why}")
        jobs.append((photo, name))
    return Plan(request, settings, inputs, earlier, list(kept), jobs)


def _is_done(request: Request, settings: str, photo: Photo, name: str, record: Record) -> bool:
    """Whether all files are there, of that photo as it is now, and as they were written."""
    if record.settings != settings_of(request, settings, photo.clip) or record.name != name or record.is_stopped:
        return False
    if request.bursts is not None and not photo.clip and (record.focus is None or record.focus.sharpness is None):
        return False  # of an earlier version, which did not measure it
    results = request.clips if photo.clip else request.results
    files = {ending: request.out / (name + ending) for ending in results.endings}
    try:
        if record.photo is None:  # of an earlier version: nothing of the photo may have changed since
            return min(file.stat().st_mtime_ns for file in files.values()) >= max(times(photo.path)[1:])
        return (
            all(result_size(file) == record.files.get(ending) for ending, file in files.items())
            and has_thumbnails(request.out, record.path)  # versions that tell the photo's file have written them
            and record.photo.is_still(photo.path)
        )
    except OSError:
        return False


def settings_of(request: Request, settings: str, clip: bool) -> str:
    """What the results of a photo, or of a clip, are made with: a request's `settings`, and what goes for these."""
    if not clip or request.clips.mask_names:
        settings += f", binary {request.results.binary}"
    return settings + request.clips.settings() if clip else settings

"""Which photos are to be worked on, what their results are called, and what the report says before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sgdbd_jax.data.photos import MAX_PIXELS
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.shipped import shipped
from sgdbd_jax.errors import shown
from sgdbd_jax.files import file_sha256
from sgdbd_jax.folders import report
from sgdbd_jax.folders.inputs import Inputs, Photo
from sgdbd_jax.folders.naming import name_results
from sgdbd_jax.folders.outputs import Results
from sgdbd_jax.folders.record import Record, failure


@dataclass(frozen=True)
class Request:
    """What is wanted of photos, whichever they are.

    Attributes:
        out: folder of the results and the report.
        results: which files a photo gets.
        weights: the generator's; `None`: those that come with the package.
        work_size, refine, full: as `Detector.load` takes them.
        max_pixels: of a photo; larger ones are refused.
        resume: whether photos are left out whose results are there already, made with the same settings.
    """

    out: Path
    results: Results = Results()
    weights: Path | None = None
    work_size: int | str | None = None
    refine: bool = True
    full: bool = False
    max_pixels: int = MAX_PIXELS
    resume: bool = False

    def load_detector(self) -> Detector:
        """The detector that makes the masks.

        Raises:
            UserError: as `Detector.load`.
        """
        return Detector.load(self.weights, work_size=self.work_size, refine=self.refine, full=self.full)

    def settings(self) -> str:
        """What decides how results look, in words; reports of earlier runs hold the same words."""
        return (
            f"weights {file_sha256(self.weights or shipped())[:12]}, work_size {self.work_size},"
            f" no_refine {not self.refine}, full {self.full},"
            f" polarity {self.results.polarity}, binary {self.results.binary}"
        )


@dataclass(frozen=True)
class Plan:
    """The work that a request makes of photos.

    Attributes:
        request: what is wanted.
        settings: the request's, in words.
        inputs: the photos, and the arguments that gave none.
        records: by path, what the report holds before any work; photos that are to be worked on are not among them.
        jobs: photos to work on, with the names of their results.
    """

    request: Request
    settings: str
    inputs: Inputs
    records: dict[str, Record]
    jobs: list[tuple[Photo, str]]


def make_plan(request: Request, inputs: Inputs, *, say: Callable[[str], None]) -> Plan:
    """Compares photos with the report of earlier runs in the same folder.

    In it other photos keep their names and their places.

    Args:
        request: what is wanted.
        inputs: the photos, and the arguments that gave none.
        say: takes a line for the user, on a photo whose results are called otherwise than it.
    """
    settings = request.settings()
    earlier = report.read(request.out)
    records = {path: record for path, record in earlier.items() if record.status == "done"}
    for path, reason in inputs.refused.items():
        records[os.path.abspath(path)] = failure(os.path.abspath(path), "", reason)
    names = name_results(inputs.photos, {path: record.name for path, record in earlier.items() if record.name})
    jobs = []
    for photo, name in zip(inputs.photos, names, strict=True):
        files = [request.out / (name + ending) for ending in request.results.endings]
        record = records.get(photo.absolute)
        if request.resume and record and record.settings == settings and _are_newer(files, photo.path):
            continue
        records.pop(photo.absolute, None)
        if name != photo.place:
            say(f"warning: {shown(photo.path)}: its results are called {shown(name)}; its name was taken")
        jobs.append((photo, name))
    return Plan(request, settings, inputs, records, jobs)


def _are_newer(files: Sequence[Path], photo: Path) -> bool:
    """Whether all files are there, written since the photo was last changed."""
    try:
        return min(file.stat().st_mtime_ns for file in files) >= photo.stat().st_mtime_ns
    except OSError:
        return False

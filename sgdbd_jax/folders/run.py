"""Works through a plan: results and a report of every photo and clip, whichever fail and however the run ends."""

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.devices import Detectors
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import remove_unfinished
from sgdbd_jax.folders import report
from sgdbd_jax.folders.bursts import mark_bursts, thumbnail_looks
from sgdbd_jax.folders.clips import ClipWorker
from sgdbd_jax.folders.inputs import Photo
from sgdbd_jax.folders.plan import Plan
from sgdbd_jax.folders.sidecars import Sidecars
from sgdbd_jax.folders.thumbnails import thumbnail_folders
from sgdbd_jax.folders.worker import Worker

SAVE_EVERY = 60  # seconds after which what was reported outlasts a power failure


@dataclass(frozen=True)
class Outcome:
    """How many photos ended how."""

    done: int  # have their results, from this run or an earlier one
    done_before: int  # of these, from an earlier one
    failed: int  # and arguments that gave no photos
    left: int  # were not reached when the run was stopped, or not done with
    clips: int = 0  # of those that are done
    sidecars: int = 0  # that could not be written


def run(
    plan: Plan,
    detector: Detector,
    *,
    say: Callable[[str], None],
    should_stop: Callable[[], bool],
    progress: Callable[[], object],
    watch: Callable[[str], object] = lambda text: None,
) -> Outcome:
    """Makes the results, of clips after those of photos.

    The report is written before the first photo; each adds its line; at the end all is shown.

    Bursts, and then sidecars, follow when all photos are done: not at a stop, after which the same request, to resume,
    makes up for them.

    Nobody else may write into the folder meanwhile; see `alone`.

    Args:
        plan: what to do.
        detector: gives the masks, on each of this process's devices.
        say: takes a line for the user.
        should_stop: whether to end after the photos in hand.
        progress: called after each photo.
        watch: called about once a second with what frame of a clip is at work, in words.

    Raises:
        UserError: the report cannot be written, or no more results can.
    """
    request, ends = plan.request, collections.Counter[str]()
    clips_done = sum(photo.clip for photo in plan.inputs.photos) - sum(photo.clip for photo, _ in plan.jobs)
    report.write(request.out, plan.records())  # a folder that cannot be written is refused before the work
    for folder in {
        request.out,
        *((request.out / name).parent for _, name in plan.jobs),
        *thumbnail_folders(request.out),
    }:
        remove_unfinished(folder)
    detectors = Detectors(detector, warn=lambda text: say(f"warning: {text}"))
    what = detectors, request.out, request.results
    limits: dict[str, Any] = {"max_pixels": request.max_pixels, "say": say, "should_stop": should_stop}
    worker, clip_worker = Worker(*what, **limits), ClipWorker(*what, request.clips, **limits, watch=watch)

    def jobs(clip: bool) -> Iterator[tuple[Photo, str]]:
        chosen = (job for job in plan.jobs if job[0].clip == clip)
        return itertools.takewhile(lambda _: not should_stop(), chosen)

    with report.append(request.out) as lines:
        saved, ended = time.monotonic(), False
        try:
            photos = work_ahead(worker, jobs(clip=False), workers=worker.threads)
            clips = map(clip_worker, jobs(clip=True))
            for clip, record in itertools.chain(((False, each) for each in photos), ((True, each) for each in clips)):
                if record is None:  # left, at a stop
                    continue
                lines.add(dataclasses.replace(record, settings=plan.settings_of(clip)))
                if record.is_stopped:
                    continue
                ends[record.status] += 1
                clips_done += clip and record.status == "done"
                progress()
                if time.monotonic() > saved + SAVE_EVERY:
                    lines.sync()
                    saved = time.monotonic()
            ended = not should_stop()
        finally:
            lines.check()  # pages of a folder that was moved away are not written into the one that took its place
            if ended and request.bursts is not None:
                records = report.read(request.out)
                mine = [records[path] for photo in plan.inputs.photos if (path := photo.absolute) in records]
                looks = thumbnail_looks(request.out)
                marks = mark_bursts(mine, looks, seconds=request.bursts, should_stop=should_stop)
                if ended := not should_stop():
                    report.note_bursts(request.out, marks)
            report.show(request.out)
    sidecars = _write_sidecars(plan, request.sidecars, say, should_stop) if ended and request.sidecars else 0
    before = len(plan.inputs.photos) - len(plan.jobs)
    return Outcome(
        done=before + ends["done"],
        done_before=before,
        failed=ends["failed"] + len(plan.inputs.refused),
        left=len(plan.jobs) - ends.total(),
        sidecars=sidecars,
        clips=clips_done,
    )


def _write_sidecars(plan: Plan, sidecars: Sidecars, say: Callable[[str], None], should_stop: Callable[[], bool]) -> int:
    """Writes the sidecars of photos that are done, from this run or an earlier one.

    Returns:
        How many could not be written; each is said.
    """
    records, failed = report.read(plan.request.out), 0
    paths = {photo.path: photo.absolute for photo in plan.inputs.photos if not photo.clip}
    done = [photo for photo, path in paths.items() if path in records and records[path].focus is not None]
    chosen = sidecars.chosen(done, asked=paths)
    for folder in {path.parent for path in chosen}:
        remove_unfinished(folder)
    for count, (path, photo) in enumerate(chosen.items()):
        if should_stop():
            say(f"note: sidecars left: {len(chosen) - count}; the same command with --resume writes them")
            break
        try:
            sidecars.write(path, records[paths[photo]])
        except UserError as error:
            say(f"error: {error}")
            failed += 1
    if others := len(done) - len(chosen):
        say(f"note: {others} without a sidecar, as a photo of the same name has it; raw files come first")
    return failed

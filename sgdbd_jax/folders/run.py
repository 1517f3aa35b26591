"""Works through a plan: results and a report of every photo, whichever fail and however the run ends."""

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.files import remove_unfinished
from sgdbd_jax.folders import report
from sgdbd_jax.folders.plan import Plan
from sgdbd_jax.folders.thumbnails import thumbnail_folders
from sgdbd_jax.folders.worker import WORKERS, Worker

SAVE_EVERY = 60  # seconds after which what was reported outlasts a power failure


@dataclass(frozen=True)
class Outcome:
    """How many photos ended how."""

    done: int  # have their results, from this run or an earlier one
    done_before: int  # of these, from an earlier one
    failed: int  # and arguments that gave no photos
    left: int  # were not reached when the run was stopped


def run(
    plan: Plan,
    detector: Detector,
    *,
    say: Callable[[str], None],
    should_stop: Callable[[], bool],
    progress: Callable[[], object],
) -> Outcome:
    """Makes the results. The report is written before the first photo; each adds its line; at the end all is shown.

    Nobody else may write into the folder meanwhile; see `alone`.

    Args:
        plan: what to do.
        detector: gives the masks.
        say: takes a line for the user.
        should_stop: whether to end after the photos in hand.
        progress: called after each photo.

    Raises:
        UserError: the report cannot be written, or no more results can.
    """
    request, ends = plan.request, collections.Counter[str]()
    report.write(request.out, plan.records())  # a folder that cannot be written is refused before the work
    for folder in {
        request.out,
        *((request.out / name).parent for _, name in plan.jobs),
        *thumbnail_folders(request.out),
    }:
        remove_unfinished(folder)
    worker = Worker(
        detector, request.out, request.results, max_pixels=request.max_pixels, say=say, should_stop=should_stop
    )
    jobs = itertools.takewhile(lambda _: not should_stop(), plan.jobs)
    with report.append(request.out) as lines:
        saved = time.monotonic()
        try:
            for record in work_ahead(worker, jobs, workers=WORKERS):
                if record is None:  # left, at a stop
                    continue
                lines.add(dataclasses.replace(record, settings=plan.settings))
                ends[record.status] += 1
                progress()
                if time.monotonic() > saved + SAVE_EVERY:
                    lines.sync()
                    saved = time.monotonic()
        finally:
            lines.check()  # pages of a folder that was moved away are not written into the one that took its place
            report.show(request.out)
    before = len(plan.inputs.photos) - len(plan.jobs)
    return Outcome(
        done=before + ends["done"],
        done_before=before,
        failed=ends["failed"] + len(plan.inputs.refused),
        left=len(plan.jobs) - ends.total(),
    )

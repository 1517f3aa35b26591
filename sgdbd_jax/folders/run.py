"""Works through a plan: results and a report of every photo, whichever fail and however the run ends."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.folders import report
from sgdbd_jax.folders.plan import Plan
from sgdbd_jax.folders.worker import WORKERS, Worker

SAVE_EVERY = 60  # seconds between reports: the most that a kill can cost


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
    """Makes the results. The report is written before the first photo, each minute, and at the end.

    Args:
        plan: what to do.
        detector: gives the masks.
        say: takes a line for the user.
        should_stop: whether to end after the photos in hand.
        progress: called after each photo.

    Raises:
        UserError: the report cannot be written, or no more results can.
    """
    request, records = plan.request, dict(plan.records)

    def save() -> float:
        report.write(request.out, list(records.values()))
        return time.monotonic()

    saved = save()  # a folder that cannot be written is refused before the work
    worker = Worker(
        detector, request.out, request.results, max_pixels=request.max_pixels, say=say, should_stop=should_stop
    )
    jobs = itertools.takewhile(lambda _: not should_stop(), plan.jobs)
    try:
        for record in work_ahead(worker, jobs, workers=WORKERS):
            if record is None:  # left, at a stop
                continue
            records[record.path] = dataclasses.replace(record, settings=plan.settings)
            progress()
            if time.monotonic() > saved + SAVE_EVERY:
                saved = save()
    finally:
        save()
    photos = plan.inputs.photos
    ends = [records[photo.absolute].status for photo in photos if photo.absolute in records]
    return Outcome(
        done=ends.count("done"),
        done_before=len(photos) - len(plan.jobs),
        failed=ends.count("failed") + len(plan.inputs.refused),
        left=len(photos) - len(ends),
    )

"""A folder of very many small photos: what a run's report takes in memory and time, from the first photo to the last.

python -m tests.campaign.many_photos DIR COUNT
"""

from __future__ import annotations

import io
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 48, 36
SAMPLE = 200  # lines at the start and at the end whose cost is compared


def measure_many_photos(out: Path, count: int) -> dict[str, Any]:
    """Works through `count` photos in a process of its own, whose detector is a constant, and once more to resume.

    Args:
        out: folder for photos and results, which stay there.
        count: of photos.

    Returns:
        Peaks of memory in bytes (`memory_*`: of the process before any photo, once the work was planned, at the end,
        and of a second process that finds all done), seconds (`seconds_*`: to find and plan, for all photos, for the
        views, the median of a photo's line at the start and at the end, to plan a second run), the bytes of the
        largest page, the pages, and how many photos the report has.
    """
    out = out.resolve()
    _make_photos(out / "photos", count)
    first, second = (_in_a_process(out, resume) for resume in (False, True))
    pages = [path.stat().st_size for path in (out / "results").glob("report*.html")]
    return first | {
        "memory_resumed": second["memory_end"],
        "seconds_resumed_plan": second["seconds_plan"],
        "seconds_resumed": second["seconds_run"],
        "done_before": second["done_before"],
        "pages": len(pages),
        "bytes_largest_page": max(pages),
    }


def _make_photos(folder: Path, count: int) -> None:
    """Noise, in folders of 1,000; a number in the comment makes each another file."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"IMG_{number:06}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", comment=str(number))
            path.write_bytes(file.getvalue())


def _in_a_process(out: Path, resume: bool) -> dict[str, Any]:
    script = f"from tests.campaign.many_photos import _work; _work({str(out)!r}, {resume})"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(ended.stdout)


def _work(out: str, resume: bool) -> None:
    """A run of `sgdbd --recursive` but for the network; prints what it took."""
    from sgdbd_jax.detection.detector import Seen
    from sgdbd_jax.folders import lines, report
    from sgdbd_jax.folders.alone import alone
    from sgdbd_jax.folders.inputs import find_photos
    from sgdbd_jax.folders.plan import Request, make_plan
    from sgdbd_jax.folders.run import run

    class Constant:
        def see(self, photo: np.ndarray) -> Seen:
            return Seen(photo, np.full(photo.shape[:2], 0.75, np.float32))

        def finish(self, photo: np.ndarray, seen: Seen) -> np.ndarray:
            return seen.mask

    taken: dict[str, list[float]] = {"add": [], "show": []}

    def timed(function: Any, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                taken[name].append(time.perf_counter() - began)

        return call

    lines.Appending.add = timed(lines.Appending.add, "add")  # type: ignore[method-assign]
    report.show = timed(report.show, "show")
    result: dict[str, Any] = {"memory_before": _peak()}
    began = time.perf_counter()
    with alone(Path(out, "results"), say=_say):
        inputs = find_photos([f"{out}/photos"], recursive=True, read_list=bytes)
        plan = make_plan(Request(Path(out, "results"), resume=resume), inputs, say=_say)
        result |= {"memory_planned": _peak(), "seconds_plan": time.perf_counter() - began}
        began = time.perf_counter()
        outcome = run(plan, Constant(), say=_say, should_stop=lambda: False, progress=lambda: None)  # type: ignore[arg-type]
    adds = taken["add"] or [0.0]
    result |= {
        "photos": len(inputs.photos),
        "done": outcome.done,
        "done_before": outcome.done_before,
        "seconds_run": time.perf_counter() - began,
        "seconds_view": max(taken["show"]),
        "seconds_line_at_start": statistics.median(adds[:SAMPLE]),
        "seconds_line_at_end": statistics.median(adds[-SAMPLE:]),
        "memory_end": _peak(),
    }
    print(json.dumps(result))


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # without what the process before it had
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    print(json.dumps(measure_many_photos(Path(sys.argv[1]), int(sys.argv[2])), indent=1))

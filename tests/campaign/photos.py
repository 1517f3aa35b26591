"""A folder of many photos: reports in memory that does not grow with them, and writes whose cost does not grow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .cases import Case, Family, Lost, Skipped, attempt

COUNTS = (20_000,)  # photos; a seed is a place here
MEMORY = 150_000_000  # bytes that the report of as many may take; their thumbnails would be 300 MB


def _many(count: int, folder: Path) -> str:
    try:
        from .many_photos import measure_many_photos
    except ImportError as error:
        raise Skipped("there is no measure of many photos yet") from error
    measured: dict[str, Any] = measure_many_photos(folder, count)
    for name in ("done", "done_before"):
        if measured.get(name, count) != count:
            raise Lost(f"{name}: {measured[name]} of {count}")
    if (grown := measured.get("memory_end", 0) - measured.get("memory_planned", 0)) > MEMORY:
        raise Lost(f"the report took {grown / 1e6:.0f} MB")
    early, late = (measured.get(f"seconds_line_at_{when}", 0.0) for when in ("start", "end"))
    if late > 5 * early + 1e-3:
        raise Lost(f"a write took {early:.4f} s at the start and {late:.4f} s at the end")
    return "; ".join(f"{name} {value}" for name, value in measured.items())


def many_photos(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """Measures folders of as many photos as `COUNTS` says; what grows is told by an exception."""
    for seed in seeds:
        yield attempt(seed, f"{COUNTS[seed]:,} photos", lambda seed=seed: _many(COUNTS[seed], folder))


FAMILIES = [Family("many_photos", "a folder of 20,000 photos", len(COUNTS), 0, many_photos)]

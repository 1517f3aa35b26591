"""A folder of many photos: reports in memory that does not grow with them, and writes whose cost does not grow."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sgdbd_jax.folders.report import PAGE

from .cases import Case, Family, Lost, attempt
from .many_photos import measure_many_photos

COUNTS = (20_000,)  # photos; a seed is a place here
MEMORY = 150_000_000  # bytes that the report of as many may take; their thumbnails would be 300 MB


def _many(count: int, folder: Path) -> str:
    measured = measure_many_photos(folder, count)
    for name in ("done", "done_before"):
        if measured[name] != count:
            raise Lost(f"{name}: {measured[name]} of {count}")
    for end in ("memory_end", "memory_resumed"):
        if (grown := measured[end] - measured["memory_before"]) > MEMORY:
            raise Lost(f"{end}: the report took {grown / 1e6:.0f} MB")
    if measured["pages"] != -(-count // PAGE):
        raise Lost(f"{measured['pages']} pages for {count} photos")
    early, late = (measured[f"seconds_line_at_{when}"] for when in ("start", "end"))
    if late > 5 * early + 1e-3:
        raise Lost(f"a write took {early:.4f} s at the start and {late:.4f} s at the end")
    return "; ".join(f"{name} {value}" for name, value in measured.items())


def many_photos(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """Measures folders of as many photos as `COUNTS` says; what grows is told by an exception."""
    for seed in seeds:
        yield attempt(seed, f"{COUNTS[seed]:,} photos", lambda seed=seed: _many(COUNTS[seed], folder))


FAMILIES = [Family("many_photos", "a folder of 20,000 photos", len(COUNTS), 0, many_photos)]

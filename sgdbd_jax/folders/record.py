"""What became of one photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sgdbd_jax.detection.focus import Focus


@dataclass(frozen=True)
class Record:
    """A photo's line in the report, and its pictures there."""

    path: str  # of the photo; no two records of a report share it
    name: str  # of its results, relative to the report's folder, such as "trip/IMG_1"
    width: int  # pixels as displayed; 0 where the photo could not be read
    height: int
    status: Literal["done", "failed"]
    error: str  # why it failed
    seconds: float  # that it took
    focus: Focus | None
    thumbnail: bytes  # a JPEG of the photo, at most 256 pixels a side; may be empty
    overlay: bytes  # the same of its overlay
    settings: str = ""  # what its results were made with: only with the same are they taken as done


def failure(path: str, name: str, reason: str) -> Record:
    """The record of what could not be done."""
    return Record(path, name, 0, 0, "failed", reason, 0.0, None, b"", b"")

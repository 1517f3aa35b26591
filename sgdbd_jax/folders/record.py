"""What became of one photo, and how a line of JSON says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sgdbd_jax.detection.focus import Focus
from sgdbd_jax.files import Identity

STOPPED = "stopped after frame "  # begins the error of a clip


@dataclass(frozen=True)
class Record:
    """A photo's line in the report."""

    path: str  # of the photo; no two records of a report share it
    name: str  # of its results, relative to the report's folder, such as "trip/IMG_1"
    width: int  # pixels as displayed; 0 where the photo could not be read
    height: int
    status: Literal["done", "failed"]
    error: str  # why it failed; of a clip that is done, what is missing of it
    seconds: float  # that it took
    focus: Focus | None
    settings: str = ""  # what its results were made with: only with the same are they taken as done
    photo: Identity | None = None  # the file that was read; earlier versions did not tell
    files: Mapping[str, int] = field(default_factory=dict)  # its results: the end of a file's name -> bytes
    taken: str = ""  # when, by its EXIF block, as "2026-05-04T12:34:56.780000"
    burst: int | None = None  # the number of its burst, where bursts were asked for
    best: bool = False  # whether it is its burst's sharpest

    @property
    def is_stopped(self) -> bool:
        """Whether it is of a clip that was stopped on the way."""
        return self.status == "done" and self.error.startswith(STOPPED)


def failure(path: str, name: str, reason: str) -> Record:
    """The record of what could not be done."""
    return Record(path, name, 0, 0, "failed", reason, 0.0, None)


def to_row(record: Record) -> dict[str, Any]:
    """A record as JSON has it. Numbers are rounded as `focus_row` does."""
    row = vars(record) | {"seconds": round(record.seconds, 3), "photo": record.photo and vars(record.photo)}
    if record.focus is not None:
        row["focus"] = focus_row(record.focus)
    return row


def focus_row(focus: Focus) -> dict[str, Any]:
    """A photo's numbers as JSON has them, rounded: shares, score and sharpness to 4 digits, places
    to a tenth of a pixel.
    """
    numbers = {key: round(getattr(focus, key), 4) for key in ("share", "score", "unknown")}
    sharpness = focus.sharpness and round(focus.sharpness, 4)
    centre = focus.centre and [round(value, 1) for value in focus.centre]
    return vars(focus) | numbers | {"centre": centre, "sharpness": sharpness}


def to_line(record: Record) -> bytes:
    """A record as a line of JSON. A name that is no Unicode is told by its bytes, in JSON's own escapes."""
    return (json.dumps(to_row(record), ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def from_line(line: bytes) -> Record:
    """The record that `to_line` wrote, rounded as there; also in earlier versions.

    Raises:
        ValueError: the line is damaged.
    """
    try:
        row = json.loads(line.decode(errors="replace"))
        focus, photo = row.pop("focus"), row.pop("photo", None)
        row["taken"] = row.get("taken", "")
        if not all(isinstance(row[key], str) for key in ("path", "name", "error", "taken")):
            raise TypeError(row)
        if focus is not None:
            box, centre = (None if focus[key] is None else tuple(map(float, focus[key])) for key in ("box", "centre"))
            box = None if box is None else tuple(map(int, box))
            numbers = {key: float(focus[key]) for key in ("share", "score", "unknown")}
            sharpness = None if focus.get("sharpness") is None else float(focus["sharpness"])
            rest = {"box": box, "centre": centre, "flags": tuple(focus["flags"]), "sharpness": sharpness}
            focus = Focus(**focus | numbers | rest)
        row["burst"] = None if row.get("burst") is None else int(row["burst"])
        return Record(**row, focus=focus, photo=None if photo is None else Identity(**photo))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no line of a report: {line[:80]!r}") from error

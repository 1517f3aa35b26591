"""What there is to say of a folder of photos: `report.csv`, `report.jsonl`, and `report.html`, a contact sheet.

All three hold every photo, those that failed with their reason. The JSON lines are the record, for people and programs
to read; the pictures stand in the sheet alone, where `read` finds them again.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sgdbd_jax.detection.focus import Focus
from sgdbd_jax.files import write_atomically
from sgdbd_jax.folders.record import Record
from sgdbd_jax.folders.sheet import card_key, contact_sheet, read_pictures

CSV, LINES, SHEET = "report.csv", "report.jsonl", "report.html"

COLUMNS = (
    *("path", "name", "status", "error", "width", "height", "score", "share", "unknown"),
    *("left", "top", "right", "bottom", "centre_x", "centre_y", "flags", "seconds"),
)
LAST = ("focus", "settings", "thumbnail", "overlay")  # of a record: what follows its plain values, or stands elsewhere
FORMULA = tuple("=+-@\t\r\n")  # what makes a spreadsheet calculate a cell


def write(out: Path, records: Sequence[Record]) -> None:
    """Writes the three files, each atomically.

    Numbers are rounded: shares and score to 4 digits, places to a tenth of a pixel. In the CSV, an apostrophe stands
    before a name or reason that a spreadsheet would take for a formula; the JSON lines have them as they are.

    Args:
        out: folder, is made.
        records: in the order of the report.

    Raises:
        UserError: a file cannot be written.
    """
    rows = [_row(record) for record in records]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # The lines last: a photo counts as done by them, and its pictures are then in the sheet.
    for name, text in ((CSV, _csv(rows)), (SHEET, contact_sheet(rows, records)), (LINES, lines)):
        # A name that is no Unicode is shown by its bytes, in JSON's own escapes.
        write_atomically(out / name, text.encode(errors="backslashreplace"))


def read(out: Path) -> dict[str, Record]:
    """The records that `write` wrote, rounded as there.

    Args:
        out: their folder.

    Returns:
        By path, in the order of the report. Without a report there are none; records that are damaged are left out,
        and so are pictures that are no longer in the sheet.
    """
    pictures = read_pictures(_text(out / SHEET))
    records = {}
    for line in _text(out / LINES).split("\n"):
        try:
            row = json.loads(line)
            focus = row.pop("focus")
            if not isinstance(row["path"], str) or not isinstance(row["name"], str):
                raise TypeError(row)
            if focus is not None:
                box, centre = (None if focus[key] is None else tuple(focus[key]) for key in ("box", "centre"))
                focus = Focus(**focus | {"box": box, "centre": centre, "flags": tuple(focus["flags"])})
            card = pictures.get(card_key(row["path"]), {})
            thumbnail, overlay = (base64.b64decode(card.get(kind, "")) for kind in ("photo", "overlay"))
            records[row["path"]] = Record(**row, focus=focus, thumbnail=thumbnail, overlay=overlay)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return records


def _row(record: Record) -> dict[str, Any]:
    """A line of the report: all but the pictures, as JSON has it."""
    row = {key: value for key, value in vars(record).items() if key not in LAST}
    focus = None if record.focus is None else asdict(record.focus)
    if focus is not None:
        for key in ("share", "score", "unknown"):
            focus[key] = round(focus[key], 4)
        focus["centre"] = focus["centre"] and [round(value, 1) for value in focus["centre"]]
    return row | {"seconds": round(record.seconds, 3), "focus": focus, "settings": record.settings}


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")  # "box" and "centre" have columns of their own
    writer.writeheader()
    for row in rows:
        cells = dict(row) if row["width"] else {**row, "width": "", "height": ""}
        cells |= {key: f"'{row[key]}" for key in ("path", "name", "error") if row[key].startswith(FORMULA)}
        if (focus := cells.pop("focus")) is not None:
            cells |= focus | {"flags": " ".join(focus["flags"])}
            cells |= zip(("left", "top", "right", "bottom"), focus["box"] or ())
            cells |= zip(("centre_x", "centre_y"), focus["centre"] or ())
        writer.writerow(cells)
    return file.getvalue()


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.exists() else ""

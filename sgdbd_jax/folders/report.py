"""What there is to say of a folder of photos: `report.jsonl`, `report.csv`, and `report.html`, a contact sheet.

All three hold every photo, those that failed with their reason. The lines are the record, for people and programs to
read; table and pages are views of them.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sgdbd_jax.files import atomic_file, write_atomically
from sgdbd_jax.folders.lines import Appending, Records, write_lines
from sgdbd_jax.folders.record import Record, to_row
from sgdbd_jax.folders.sheet import Span, contact_sheet, is_contact_sheet, page_name
from sgdbd_jax.folders.thumbnails import take_out

CSV, LINES = "report.csv", "report.jsonl"
PAGE = 2000  # photos on a page

FOCUS_COLUMNS = ("score", "share", "unknown", "left", "top", "right", "bottom", "centre_x", "centre_y", "flags")
BURST_COLUMNS = ("sharpness", "taken", "burst", "best")
COLUMNS = ("path", "name", "status", "error", "width", "height", *FOCUS_COLUMNS, "seconds", *BURST_COLUMNS)
FORMULA = tuple("=+-@\t\r\n")  # what makes a spreadsheet calculate a cell


def read(out: Path) -> Records:
    """The records in a folder, by path, in the order of the report; without a report there are none.

    Raises:
        UserError: the report cannot be read.
    """
    return Records(out / LINES)


def write(out: Path, records: Iterable[Record]) -> None:
    """Writes the report, in place of another.

    Args:
        out: folder, is made.
        records: in the order of the report; may be those that `read` finds there.

    Raises:
        UserError: a file cannot be written.
    """
    write_lines(out / LINES, records)
    show(out)


def append(out: Path) -> Appending:
    """Opens the report that `write` wrote, for more records; `show` then shows them."""
    return Appending(out / LINES)


def note_bursts(out: Path, bursts: Mapping[str, tuple[int, bool]]) -> None:
    """Writes into the lines which photos belong to which burst, and which are the best; `show` then shows it.

    Args:
        out: the folder.
        bursts: path -> number, and whether it is the best; those that are not in it belong to none.

    Raises:
        UserError: the lines cannot be written.
    """
    none = (None, False)
    noted = (
        dataclasses.replace(record, burst=burst, best=best)
        for path, record in read(out).items()
        for burst, best in [bursts.get(path, none)]
    )
    write_lines(out / LINES, noted)


def show(out: Path) -> None:
    """Writes table and pages anew, from the lines. Each file is written atomically; one page is held at a time.

    In the table, an apostrophe stands before a name or reason that a spreadsheet would take for a formula; the lines
    have them as they are. Pages have at most `PAGE` photos each, in the order of the lines.

    Raises:
        UserError: a file cannot be written.
    """
    records = read(out)
    spans = _write_table(out / CSV, records)
    take_out(out / page_name(1))
    for number, page in enumerate(_pages(records), start=1):
        text = contact_sheet(page, number, spans, out)
        write_atomically(out / page_name(number), text.encode(errors="backslashreplace"))
    for path in out.glob("report-*.html"):  # of a longer report
        place = path.stem.removeprefix("report-")
        if place.isdecimal() and int(place) > len(spans) and is_contact_sheet(path):
            path.unlink()


def _pages(records: Records) -> Iterator[list[Record]]:
    """The records in bunches, at least one."""
    each = iter(records.values())
    yield list(itertools.islice(each, PAGE))
    while page := list(itertools.islice(each, PAGE)):
        yield page


def _write_table(path: Path, records: Records) -> list[Span]:
    """Writes the table, and tells what pages will hold."""
    spans = []
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for page in _pages(records):
            writer.writerows(map(_cells, page))
            spans.append(Span(len(page), sum(record.focus is None for record in page)))
        text.detach()
    return spans


def _cells(record: Record) -> dict[str, Any]:
    cells = to_row(record)
    if not record.width:
        cells |= {"width": "", "height": ""}
    cells["best"] = "yes" if record.best else "no" if record.burst is not None else ""
    cells |= {key: as_text(cells[key]) for key in ("path", "name", "error")}
    if (focus := cells.pop("focus")) is not None:
        cells |= focus_cells(focus) | {"sharpness": focus["sharpness"]}
    return cells


def as_text(cell: str) -> str:
    """The cell, with an apostrophe before it if a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def focus_cells(row: dict[str, Any]) -> dict[str, Any]:
    """What `focus_row` gives, a value for each of `FOCUS_COLUMNS` that there is something to say for."""
    cells = {key: row[key] for key in ("score", "share", "unknown")} | {"flags": " ".join(row["flags"])}
    cells |= zip(("left", "top", "right", "bottom"), row["box"] or ())
    return cells | dict(zip(("centre_x", "centre_y"), row["centre"] or ()))

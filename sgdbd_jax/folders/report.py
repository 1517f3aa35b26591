"""What there is to say of a folder of photos: `report.csv`, `report.jsonl`, and `report.html`, a contact sheet.

All three hold every photo, those that failed with their reason. The JSON lines are the record, for people and programs
to read; the pictures stand in the sheet alone, where `read` finds them again.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    from sgdbd_jax.detection.focus import Focus

CSV, LINES, SHEET = "report.csv", "report.jsonl", "report.html"

COLUMNS = (
    *("path", "name", "status", "error", "width", "height", "score", "share", "unknown"),
    *("left", "top", "right", "bottom", "centre_x", "centre_y", "flags", "seconds"),
)
LAST = ("focus", "settings", "thumbnail", "overlay")  # of a record: what follows its plain values, or stands elsewhere
FORMULA = tuple("=+-@\t\r\n")  # what makes a spreadsheet calculate a cell


@dataclass(frozen=True)
class Record:
    """What became of a photo."""

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
    from sgdbd_jax.files import write_atomically

    rows = [_row(record) for record in records]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # The lines last: a photo counts as done by them, and its pictures are then in the sheet.
    for name, text in ((CSV, _csv(rows)), (SHEET, _sheet(rows, records)), (LINES, lines)):
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
    from sgdbd_jax.detection.focus import Focus

    pictures = dict(_pictures(_text(out / SHEET)))
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
            found = pictures.get(_key(row["path"]), {})
            thumbnail, overlay = (base64.b64decode(found.get(kind, "")) for kind in ("photo", "overlay"))
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
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")  # "box" and "centre", told as columns of their own
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


def _key(path: str) -> str:
    """By which a photo's pictures are found in the sheet, whatever characters its path has."""
    return hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()[:16]


def _pictures(sheet: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Of each card of a sheet its key, and its pictures by kind, in base64."""
    for card in sheet.split('<article id="')[1:]:
        yield card.partition('"')[0], dict(re.findall(r'<img class="(\w+)" src="data:image/jpeg;base64,([^"]*)"', card))


def _sheet(rows: Sequence[dict[str, Any]], records: Sequence[Record]) -> str:
    """The contact sheet: one page that needs nothing beside it."""
    from sgdbd_jax.detection.focus import FLAGS

    cards = [_card(place, row, record) for place, (row, record) in enumerate(zip(rows, records)) if row["focus"]]
    failures = [
        f"<tr><td>{html.escape(row['path'])}<td>{html.escape(row['error'])}" for row in rows if not row["focus"]
    ]
    counts = f"{len(cards)} photo{'' if len(cards) == 1 else 's'}"
    if failures:
        counts += f', <a href="#failed">{len(failures)} failed</a>'
    return PAGE.format(
        style=STYLE,
        script=SCRIPT,
        counts=counts,
        cards="\n".join(cards),
        failures=FAILURES.format(rows="\n".join(failures)) if failures else "",
        flags="\n".join(f"<dt>{_label(flag)}<dd>{html.escape(meaning)}." for flag, meaning in FLAGS.items()),
    )


def _card(place: int, row: dict[str, Any], record: Record) -> str:
    focus = row["focus"]
    mask = html.escape(quote(f"{row['name']}.mask.png", errors="surrogateescape"))
    pictures = "\n".join(
        f'<a href="{mask}"><img class="{kind}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"'
        f' alt="{kind}" loading="lazy">{marks}</a>'
        for kind, jpeg, marks in (("photo", record.thumbnail, ""), ("overlay", record.overlay, _marks(row)))
        if jpeg
    )
    flags = "".join(f'<b class="{flag}">{_label(flag)}</b>' for flag in map(html.escape, focus["flags"]))
    box = "{}, {} to {}, {}".format(*focus["box"]) if focus["box"] else "none"
    centre = "{:.0f}, {:.0f}".format(*focus["centre"]) if focus["centre"] else "none"
    return CARD.format(
        key=_key(row["path"]),
        place=place,
        pictures=pictures,
        title=html.escape(os.path.basename(row["path"])),
        path=html.escape(row["path"]),
        size=f"{row['width']} x {row['height']}",
        box=box,
        centre=centre,
        flags=flags,
        **{key: focus[key] for key in ("score", "share", "unknown")},
    )


def _marks(row: dict[str, Any]) -> str:
    """Box and centre, drawn over a picture in the photo's own pixels."""
    focus = row["focus"]
    if not focus["box"]:
        return ""
    (left, top, right, bottom), (x, y) = focus["box"], focus["centre"]
    return (
        f'<svg viewBox="0 0 {row["width"]} {row["height"]}">'
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/><path d="M{x} {y}h0"/></svg>'
    )


def _label(flag: str) -> str:
    return flag.replace("_", " ")


STYLE = """\
:root { color-scheme: light dark; --line: light-dark(#ddd, #3a3a3a); --quiet: light-dark(#666, #a0a0a0); }
body { margin: 0 auto; max-width: 110rem; padding: 0 1.5rem 2rem; font: 14px/1.45 system-ui, sans-serif; }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; padding: .75rem 0;
  align-items: baseline; background: Canvas; border-bottom: 1px solid var(--line); }
h1, h2, p, dl { margin: 0; }
h1 { font-size: 1.3rem; }
h2 { font-size: 1rem; overflow-wrap: anywhere; }
header label { margin-left: auto; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 1rem;
  padding: 1rem 0; }
article { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; content-visibility: auto;
  contain-intrinsic-size: auto 19rem; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; background: #222; min-height: 2px; }
.pictures a { position: relative; display: block; }
img { display: block; width: 100%; aspect-ratio: 4 / 3; object-fit: contain; }
svg { position: absolute; inset: 0; width: 100%; height: 100%; fill: none; stroke: #fff; stroke-width: 1.5; }
svg * { vector-effect: non-scaling-stroke; }
svg path { stroke-width: 7; stroke-linecap: round; }
.numbers { display: grid; grid-template-columns: 1fr auto; gap: .1rem 1rem; padding: .6rem .8rem .7rem; }
.score { font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; grid-row: span 2; }
.path, .where { color: var(--quiet); font-size: .85rem; overflow-wrap: anywhere; }
.where, .shares, .flags { grid-column: 1 / -1; }
.flags { display: flex; gap: .4rem; flex-wrap: wrap; }
.flags b { padding: 0 .5rem; border-radius: 1rem; font-size: .85rem; font-weight: 600; color: #fff; }
.all_sharp { background: #1a7f43; }
.nothing_sharp { background: #b3261e; }
.low_confidence { background: #8a5a00; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
td { padding: .3rem 2rem .3rem 0; border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin-top: .5rem; max-width: 60rem; }
dd { margin: 0; color: var(--quiet); }
"""

SCRIPT = """\
const order = document.querySelector("select"), sheet = document.querySelector("main");
order.addEventListener("change", () => {
  const [key, sign] = order.value.split(" ");
  [...sheet.children].sort((a, b) => sign * (a.dataset[key] - b.dataset[key])).forEach(card => sheet.append(card));
});
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Focus report</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>Focus report</h1>
<span>{counts}</span>
<label>Order <select autocomplete="off">
<option value="place 1">as given</option>
<option value="score -1">sharpest first</option>
<option value="score 1">softest first</option>
<option value="share -1">most in focus first</option>
<option value="share 1">least in focus first</option>
</select></label>
</header>
<main>
{cards}
</main>
{failures}<section>
<h2>What the numbers mean</h2>
<dl>
<dt>score<dd>How sharp the part in focus is, from 0 to 1; natural scenes that are sharp come to 0.6 to 0.8. It is
relative: for comparing photos of one kind, not a physical unit.
<dt>in focus<dd>The share of the photo that the mask holds to be in focus. Box and dot are drawn around it, and at its
centre; in pixels, from the upper left.
<dt>unknown<dd>The share of the photo without texture, such as clear sky, where no method can tell what is in focus.
{flags}
</dl>
</section>
<script>
{script}</script>
</body>
</html>
"""

CARD = """\
<article id="{key}" data-place="{place}" data-score="{score}" data-share="{share}">
<div class="pictures">
{pictures}
</div>
<div class="numbers">
<h2>{title}</h2>
<p class="score" title="focus score">{score:.2f}</p>
<p class="path">{path}</p>
<p class="shares">{share:.0%} in focus, {unknown:.0%} unknown</p>
<p class="where">{size}; box {box}; centre {centre}</p>
<p class="flags">{flags}</p>
</div>
</article>"""

FAILURES = """\
<section id="failed">
<h2>Failed</h2>
<table>
{rows}
</table>
</section>
"""

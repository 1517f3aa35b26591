"""The contact sheet, `report.html`: pages of small photos with their numbers; the pictures lie in a folder beside."""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sgdbd_jax.data.listing import CLIP_OVERLAY
from sgdbd_jax.detection.focus import FLAGS
from sgdbd_jax.folders.record import Record, to_row
from sgdbd_jax.folders.thumbnails import photo_key, thumbnail_name


class Span(NamedTuple):
    """How many photos a page has, and how many of them failed."""

    photos: int
    failed: int


def page_name(number: int) -> str:
    """The file of a page, from 1."""
    return "report.html" if number == 1 else f"report-{number}.html"


def is_contact_sheet(path: Path) -> bool:
    """Whether a file is a page of ours."""
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def contact_sheet(records: Sequence[Record], number: int, spans: Sequence[Span], out: Path) -> str:
    """A page.

    Args:
        records: those on it.
        number: the page's, from 1.
        spans: of all pages.
        out: their folder, in which thumbnails are looked for.
    """
    rows = [to_row(record) for record in records]
    cards = [_card(place, row, out) for place, row in enumerate(rows) if row["focus"]]
    failures = [
        f"<tr><td>{html.escape(row['path'])}<td>{html.escape(row['error'])}" for row in rows if not row["focus"]
    ]
    failed = sum(span.failed for span in spans)
    done = sum(span.photos for span in spans) - failed
    counts = f"{done} photo{'' if done == 1 else 's'}"
    if failed:  # where there are more pages, their links tell on which
        counts += f', <a href="#failed">{failed} failed</a>' if len(spans) == 1 else f", {failed} failed"
    bursts = any(row["burst"] is not None for row in rows)
    return PAGE.format(
        generator=GENERATOR,
        style=STYLE,
        script=SCRIPT,
        counts=counts,
        pages=_pages(number, spans),
        order="Order" if len(spans) == 1 else "Order of this page",
        cards="\n".join(cards),
        by_burst=BY_BURST if bursts else "",
        burst=BURST if bursts else "",
        failures=FAILURES.format(rows="\n".join(failures)) if failures else "",
        flags="\n".join(f"<dt>{_label(flag)}<dd>{html.escape(meaning)}." for flag, meaning in FLAGS.items()),
    )


def _pages(number: int, spans: Sequence[Span]) -> str:
    """Links to all pages, if there are more."""
    if len(spans) == 1:
        return ""
    ends = list(itertools.accumulate(span.photos for span in spans))
    links = []
    for page, (span, end) in enumerate(zip(spans, ends, strict=True), start=1):
        text = f"{end - span.photos + 1} to {end}" + (f" ({span.failed} failed)" if span.failed else "")
        current = ' aria-current="page"' if page == number else ""
        links.append(f'<a href="{page_name(page)}"{current}>{text}</a>')
    return "<nav>\n" + "\n".join(links) + "\n</nav>\n"


def _card(place: int, row: dict[str, Any], out: Path) -> str:
    focus, key = row["focus"], photo_key(row["path"])
    clip = CLIP_OVERLAY in row["files"]
    mask = html.escape(quote(row["name"] + (CLIP_OVERLAY if clip else ".mask.png"), errors="surrogateescape"))
    pictures = "\n".join(
        f'<a href="{mask}"><img class="{kind}" src="{thumbnail}" alt="{kind}" loading="lazy">{marks}</a>'
        for kind, marks in (("photo", ""), ("overlay", _marks(row)))
        if os.path.exists(os.path.join(out, thumbnail := thumbnail_name(key, kind)))
    )
    flags = "".join(f'<b class="{flag}">{_label(flag)}</b>' for flag in map(html.escape, focus["flags"]))
    if row["burst"] is not None:
        flags += f'<b class="best">best of burst {row["burst"]}</b>' if row["best"] else f"<i>burst {row['burst']}</i>"
    box = "{}, {} to {}, {}".format(*focus["box"]) if focus["box"] else "none"
    centre = "{:.0f}, {:.0f}".format(*focus["centre"]) if focus["centre"] else "none"
    return CARD.format(
        key=key,
        place=place,
        pictures=pictures,
        title=html.escape(os.path.basename(row["path"])),
        path=html.escape(row["path"]),
        size=f"{'the sharpest frame, ' if clip else ''}{row['width']} x {row['height']}",
        box=box,
        centre=centre,
        flags=flags,
        burst=LAST if row["burst"] is None else row["burst"],
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


LAST = 10**9  # sorts after all bursts
GENERATOR = '<meta name="generator" content="sgdbd">'

STYLE = """\
:root { color-scheme: light dark; --line: light-dark(#ddd, #3a3a3a); --quiet: light-dark(#666, #a0a0a0); }
body { margin: 0 auto; max-width: 110rem; padding: 0 1.5rem 2rem; font: 14px/1.45 system-ui, sans-serif; }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; padding: .75rem 0;
  align-items: baseline; background: Canvas; border-bottom: 1px solid var(--line); }
h1, h2, p, dl { margin: 0; }
h1 { font-size: 1.3rem; }
h2 { font-size: 1rem; overflow-wrap: anywhere; }
header label { margin-left: auto; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: .5rem 0 0; font-variant-numeric: tabular-nums; }
nav [aria-current] { color: inherit; font-weight: 600; text-decoration: none; }
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
.best { background: #1f5fbf; }
.flags i { padding: 0 .5rem; border-radius: 1rem; font-size: .85rem; font-style: normal; color: var(--quiet);
  border: 1px solid var(--line); }
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
{generator}
<title>Focus report</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>Focus report</h1>
<span>{counts}</span>
<label>{order} <select autocomplete="off">
<option value="place 1">as given</option>
<option value="score -1">sharpest first</option>
<option value="score 1">softest first</option>
<option value="share -1">most in focus first</option>
<option value="share 1">least in focus first</option>
{by_burst}</select></label>
</header>
{pages}<main>
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
{burst}{flags}
</dl>
</section>
<script>
{script}</script>
</body>
</html>
"""

BY_BURST = '<option value="burst 1">by burst</option>\n'
BURST = """\
<dt>burst<dd>Shots of one scene in quick succession; the best is the one whose part in focus is the sharpest.
"""

CARD = """\
<article id="{key}" data-place="{place}" data-score="{score}" data-share="{share}" data-burst="{burst}">
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

"""Detectors side by side on one set of photos, as in the paper's Table 3: what is measured of each, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats

from sgdbd_jax.baselines.detectors import BENCHMARKS, Entry
from sgdbd_jax.evaluation.protocols import PAPER
from sgdbd_jax.evaluation.scoring import Tally
from sgdbd_jax.evaluation.sod import MAX_F

MEASURES = ("f_measure", "mae", "f_measure_equalised", "max_f", "seconds")


@dataclass(frozen=True)
class Row:
    """What there is to say of one detector.

    Attributes:
        entry: what it is.
        scores: by `MEASURES`, each of which may be `None`; none of a detector that did not run.
        curves: of protocol `paper`: `[256]` float64 each, averaged over photos.
        images: on how many photos it was scored.
        note: why it did not run, or what went wrong.
    """

    entry: Entry
    scores: dict[str, float | None]
    curves: dict[str, np.ndarray]
    images: int
    note: str = ""

    @classmethod
    def missing(cls, entry: Entry, note: str) -> Row:
        """That of a detector that did not run."""
        return cls(entry, dict.fromkeys(MEASURES), {}, 0, note)

    def label(self) -> str:
        """What it is to be compared as, and what else must be known before."""
        return "; ".join(filter(None, (self.entry.label, self.note)))


class RowTally:
    """The scores of a detector, map by map; none is kept."""

    def __init__(self) -> None:
        self.images = 0
        self._paper, self._equalised, self._sod = Tally(PAPER), Tally(PAPER), Tally(MAX_F)

    def add(self, found: np.ndarray, truth: np.ndarray) -> None:
        """Scores one map.

        Args:
            found: `[h, w]` float in [0, 1], or `[h, w]` uint8 from a file, as `Protocol.prepare` takes it.
            truth: `[H, W]` uint8, 255 = in focus.
        """
        self._paper.add(*PAPER.prepare(found, truth))
        self._equalised.add(*PAPER.prepare(equalised(found), truth))
        self._sod.add(*MAX_F.prepare(found, truth))
        self.images += 1

    def row(self, entry: Entry, *, seconds: float | None, note: str = "") -> Row:
        """The averages.

        Raises:
            ValueError: nothing was added.
        """
        paper = self._paper.scores()
        scores = {
            "f_measure": paper.result["f_measure"],
            "mae": paper.result["mae"],
            "f_measure_equalised": self._equalised.scores().result["f_measure"],
            "max_f": self._sod.scores().result["max_f"],
            "seconds": seconds,
        }
        return Row(entry, scores, paper.curves, self.images, note)


def equalised(found: np.ndarray) -> np.ndarray:
    """A map with the rank of each pixel in the place of its value, so that brightness and contrast say nothing.

    >>> equalised(np.array([[0.9, 0.0], [0.1, 0.1]])).tolist()
    [[1.0, 0.25], [0.625, 0.625]]

    Args:
        found: `[H, W]`, any numbers.

    Returns:
        `[H, W]` float32 in (0, 1]: the share of pixels up to each, equal ones at the mean of their ranks.
    """
    ranks = scipy.stats.rankdata(found).reshape(found.shape)
    return (ranks / found.size).astype(np.float32)


def as_json(rows: Sequence[Row], *, images: int) -> dict[str, Any]:
    """The table as JSON takes it; what was not measured is null."""
    return {
        "rows": [
            {"method": row.entry.key, "label": row.label(), "grade": row.entry.grade, **row.scores} for row in rows
        ],
        "images": images,
        "protocol": PAPER.name,
    }


def markdown(rows: Sequence[Row], *, images: int, machines: Sequence[str]) -> str:
    """The table in Markdown, and below it what each row is.

    Args:
        rows: in order.
        images: how many photos were to be scored.
        machines: on which seconds were measured.
    """
    on = f", on {' and '.join(machines)}" if machines else ""
    lines = [
        f"{images} photos, seen at their own size. F and MAE: protocol `paper`. F of ranks: the same of maps with the"
        " rank of each pixel in the place of its value; where it differs from F, that is calibration, not detection,"
        " but for constant masks, and those of white and black where more than half is white: equal pixels share a"
        " rank, and lose all."
        f" Max F: protocol `sod`. Seconds: a photo, one at a time, compiled before{on}. Beside them what the paper"
        " prints in its Table 3, F / MAE on the test photos of two benchmarks; of rows that did not run there is"
        " nothing else.",
        "",
        f"| | F | MAE | F of ranks | max F | s | {' | '.join(f'*paper, {name}*' for name in BENCHMARKS)} | grade | |",
        f"|---|{'---|' * (len(MEASURES) + len(BENCHMARKS))}---|---|",
    ]
    for row in rows:
        cells = [_number(row.scores[name], 2 if name == "seconds" else 3) for name in MEASURES]
        printed = [row.entry.paper.get(name) for name in BENCHMARKS]
        cells += ["" if pair is None else f"*{pair[0]:.3f} / {pair[1]:.3f}*" for pair in printed]
        lines.append(f"| {' | '.join([row.entry.name, *cells, row.entry.grade, row.label()])} |")
    lines += [
        "",
        "Detectors of others are reimplementations or, where their grade is C, reconstructions. Grades: A, read from"
        " the authors' program; B, from another's; C, reconstructed. The paper's own networks have 0.769 / 0.119 and"
        " 0.701 / 0.172 there without masks, 0.884 / 0.079 and 0.794 / 0.153 with them.",
        "",
    ]
    for row in rows:
        entry = row.entry
        if entry.kind in ("baseline", "ours"):
            about = [f"learned from {entry.learned_from}"] + ([f"grade {entry.grade}"] if entry.grade else [])
            lines.append(f"- {entry.name}{f' ({entry.source})' if entry.source else ''}: {'; '.join(about)}.")
    return "\n".join(lines) + "\n"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"

"""The table that compares trials: their scores by size and refinement, a value a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.detection.shipped import SHIPPED
from sgdbd_jax.evaluation.protocols import PAPER
from sgdbd_jax.evaluation.scoring import score
from sgdbd_jax.evaluation.two_focus import LOST
from sgdbd_jax.evaluation.weight_scores import REFINEMENTS, SIZES

SHIPPED_ROWS = {name: f"the shipped weights, {name}" for name in SHIPPED}


@dataclass
class TrialScores:
    """What there is of a trial at one size and refinement; a value a seed.

    Attributes:
        seeds: `None` for a file of which the seed does not matter.
        f_measure, mae: by protocol `paper`.
        correlation: of predicted and true in-focus share over photos; `None` where one of them does not vary.
        seconds: a photo, by the clock: of the network, or of a refinement.
    """

    seeds: list[int | None] = field(default_factory=list)
    f_measure: list[float] = field(default_factory=list)
    mae: list[float] = field(default_factory=list)
    correlation: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass
class TwoFocusScores:
    """What there is of a trial on scenes photographed twice, by one refinement; a value a seed.

    Attributes:
        seeds: as of `TrialScores`.
        right, lowest_tenth, lost: as of `two_focus.MEASURES`.
    """

    seeds: list[int | None] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    lowest_tenth: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)


def score_floors(photos: PhotoSet) -> dict[str, dict[str, float]]:
    """The constant masks' scores by protocol `paper`, which only the truths decide; by "zeros" and "ones"."""
    return score((PAPER.prepare(truth, truth) for truth in photos.masks or ()), PAPER).result["floors"]


def markdown(
    floors: Mapping[str, Mapping[str, float]],
    table: Mapping[tuple[str, str, str], TrialScores],
    *,
    says: Mapping[str, str],
    count: int,
) -> str:
    """The table in Markdown: a line a trial and size, a column a refinement.

    Args:
        floors: the constant masks' scores, by name.
        table: scores by trial, size and refinement.
        says: what a trial is, by its name; others are called by their names.
        count: of the photos.
    """
    lines = [
        f"Protocol paper, {count} photos: F / MAE, and the correlation of predicted and true in-focus share."
        f" Own size: at most {str(SIZES['own']).removeprefix('max:')} pixels on the longer side. Of several seeds: mean"
        " ± standard deviation.",
        "",
        "| | seen at | the network's mask | cut at its edges | cut by colours too | share correlation |",
        "|---|---|---|---|---|---|",
    ]
    for name, floor in floors.items():
        lines.append(f"| a mask of {name} | | {floor['f_measure']:.3f} / {floor['mae']:.3f} | | | |")
    for name, size in dict.fromkeys((name, size) for name, size, _ in table):
        cells = [f"{_spread(s.f_measure)} / {_spread(s.mae)}" for s in (table[name, size, how] for how in REFINEMENTS)]
        seen = "own size" if size == "own" else f"{size}x{size}"
        called = _called(name, says, table[name, size, "cut"].seeds)
        correlation = _spread(table[name, size, "cut"].correlation)
        lines.append(f"| {called} | {seen} | {' | '.join(cells)} | {correlation} |")
    for name, row in SHIPPED_ROWS.items():
        if (row, "own", "none") in table:
            network, edges, cut = (f"{table[row, 'own', how].seconds[0]:.2f} s" for how in REFINEMENTS)
            lines += ["", f"A photo at its own size took {name} {network} when scored; refined, {edges} or {cut} more."]
    return "\n".join(lines) + "\n"


def two_focus_markdown(
    table: Mapping[tuple[str, str, str], TwoFocusScores], *, says: Mapping[str, str], count: int
) -> str:
    """The table of scenes photographed twice: a line a trial, a column a refinement.

    Args:
        table: scores by trial, size and refinement.
        says: what a trial is, by its name; others are called by their names.
        count: of the scenes.
    """
    lines = [
        f"Of scenes photographed twice, focused at two depths, {count}; photos at own size. The share of known pixels"
        f" on the right side of a half, mean over the photos / mean of the lowest tenth / scenes below {LOST} in both.",
        "",
        "| | the network's mask | cut at its edges | cut by colours too |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(name for name, _, _ in table):
        found = [table[name, "own", how] for how in REFINEMENTS]
        cells = [f"{_spread(s.right)} / {_spread(s.lowest_tenth)} / {_spread(s.lost, 0)}" for s in found]
        lines.append(f"| {_called(name, says, found[0].seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _called(name: str, says: Mapping[str, str], seeds: Sequence[int | None]) -> str:
    """What a line begins with."""
    return says.get(name, name) + (f", seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else "")


def _spread(values: Sequence[float | None], digits: int = 3) -> str:
    """Their mean and, of several, the standard deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if len(known) < 2:
        return f"{known[0]:.{digits}f}"
    digits = max(1, digits)  # of a mean of counts
    return f"{np.mean(known):.{digits}f} ± {np.std(known, ddof=1):.{digits}f}"

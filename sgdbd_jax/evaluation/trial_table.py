"""The table that compares trials: their scores by size and refinement, a value a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.detection.shipped import SHIPPED
from sgdbd_jax.evaluation.protocols import PAPER
from sgdbd_jax.evaluation.scoring import score
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
        called = says.get(name, name)
        seeds = table[name, size, "cut"].seeds
        called += f", seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else ""
        correlation = _spread(table[name, size, "cut"].correlation)
        lines.append(f"| {called} | {seen} | {' | '.join(cells)} | {correlation} |")
    for name, row in SHIPPED_ROWS.items():
        if (row, "own", "none") in table:
            network, edges, cut = (f"{table[row, 'own', how].seconds[0]:.2f} s" for how in REFINEMENTS)
            lines += ["", f"A photo at its own size took {name} {network} when scored; refined, {edges} or {cut} more."]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float | None]) -> str:
    """Their mean and, of several, the standard deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{np.mean(known):.3f}"
    return text if len(known) < 2 else f"{text} ± {np.std(known, ddof=1):.3f}"

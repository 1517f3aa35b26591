"""The curves of a set of masks over all thresholds: as the lines of a table, and drawn."""

import numpy as np
from matplotlib.figure import Figure

from sgdbd_jax.evaluation.scoring import SetScores
from sgdbd_jax.pictures import figure_png


def curve_rows(scores: SetScores) -> list[dict[str, float]]:
    """A line a threshold, from 0 to 1: the threshold, and every curve's value there."""
    thresholds = len(scores.curves["precision"])
    return [
        {"threshold": level / (thresholds - 1)} | {name: float(curve[level]) for name, curve in scores.curves.items()}
        for level in range(thresholds)
    ]


def plot_curves(scores: SetScores, *, label: str) -> bytes:
    """Draws the PR and the F-measure curve, each beside that of a constant mask.

    Args:
        scores: of the set.
        label: what was scored, for the title.

    Returns:
        The bytes of a PNG file.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = scores.curves
    left.plot(curves["recall"], curves["precision"])
    left.set(xlabel="recall", ylabel="precision")
    right.plot(np.linspace(0, 1, len(curves["f_measure"])), curves["f_measure"])
    right.set(xlabel="threshold", ylabel="F-measure")
    # Every pixel reaches threshold 0, so the curves begin with what a constant mask, which chooses all pixels, scores.
    for axes, level in ((left, curves["precision"][0]), (right, curves["f_measure"][0])):
        axes.axhline(level, color="gray", linestyle=":", label="constant mask")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    title = f"{label}: protocol {scores.result['protocol']}, {scores.result['images']} images"
    figure.suptitle(title.encode(errors="backslashreplace").decode(), parse_math=False)  # paths may hold anything
    return figure_png(figure)

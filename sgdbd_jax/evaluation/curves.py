"""The curves of a set of masks over all thresholds: as the lines of a table, and drawn."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
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
    figure.suptitle(_plain(title), parse_math=False)
    return figure_png(figure)


def plot_comparison(
    curves: Mapping[str, Mapping[str, np.ndarray]],
    kind: Literal["precision_recall", "f_measure"],
    *,
    constant: Mapping[str, np.ndarray],
    bold: Collection[str] = (),
    title: str,
) -> bytes:
    """Draws one kind of curve of several detectors, in the order that they come in.

    Args:
        curves: by a detector's name, `SetScores.curves` of the same set.
        kind: precision over recall, or the F-measure over the threshold.
        constant: the curves of a constant mask.
        bold: names of those to draw in thicker lines.
        title: above the picture.

    Returns:
        The bytes of a PNG file.
    """
    figure = Figure(figsize=(8.5, 5.5), layout="constrained")
    axes = figure.subplots()
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for place, (name, each) in enumerate(curves.items()):
        dashes = ("-", "--", ":")[place // len(colours) % 3]
        width = 2.5 if name in bold else 1.2
        how: dict[str, Any] = {"color": colours[place % len(colours)], "linestyle": dashes, "linewidth": width}
        if kind == "f_measure":
            axes.plot(np.linspace(0, 1, len(each["f_measure"])), each["f_measure"], **how)
        else:
            axes.plot(each["recall"], each["precision"], **how)
    # As in `plot_curves`: what a mask scores that chooses all pixels.
    level = constant["precision" if kind == "precision_recall" else kind][0]
    axes.axhline(level, color="gray", linestyle=(0, (1, 2)), linewidth=1.5)
    labels = ("recall", "precision") if kind == "precision_recall" else ("threshold", "F-measure")
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    names = [_plain(name) for name in (*curves, "constant mask")]
    legend = figure.legend(axes.lines, names, loc="outside right center", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle(_plain(title), parse_math=False)
    return figure_png(figure)


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()  # paths may hold anything

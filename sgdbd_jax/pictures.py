"""Pictures as PNG files; of a run, a grid of samples and the learning curve."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPENCV_SIDE = 1_000_000  # pixels that OpenCV's PNG encoder takes a side; beyond, it prints what it thinks of it
GAP, TITLE = 4, 16  # pixels between pictures, and of the line above a column


def png(picture: Image.Image | np.ndarray, *, compress_level: int = 6) -> bytes:
    """A picture as a PNG file.

    Args:
        picture: a PIL image, or a uint8 array, `[H, W]` grey or `[H, W, 3]` RGB.
        compress_level: 0 to 9, as zlib has them; 1 takes a quarter of the time of 6, for a fifth more bytes.
    """
    file = io.BytesIO()
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.save(file, "PNG", compress_level=compress_level)
    return file.getvalue()


def mask_png(mask: np.ndarray) -> bytes:
    """A mask as a PNG file, in a quarter of the time that `png` takes at its fastest, and of about its size.

    A row of a mask is mostly the one above it, so OpenCV need not try other filters of it, as Pillow does. What it
    refuses, such as sides beyond a million pixels, `png` writes.

    Args:
        mask: `[H, W]` uint8.
    """
    import cv2

    if max(mask.shape) > OPENCV_SIDE:
        return png(mask, compress_level=1)
    how = {
        cv2.IMWRITE_PNG_COMPRESSION: 1,
        cv2.IMWRITE_PNG_STRATEGY: cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER: cv2.IMWRITE_PNG_FILTER_UP,
    }
    done, data = cv2.imencode(".png", mask, [number for pair in how.items() for number in pair])
    return data.tobytes() if done else png(mask, compress_level=1)


def figure_png(figure: Figure) -> bytes:
    """A matplotlib figure as a PNG file, 100 pixels an inch."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def sample_grid(columns: Mapping[str, np.ndarray]) -> bytes:
    """A row a photo, a column a kind of picture, with the columns' names above.

    Args:
        columns: name to `[N, H, W, 3]` or `[N, H, W]` (or `[N, H, W, 1]`) pictures, uint8 or floats in [0, 1]; the same
            N, H and W in all.

    Returns:
        A PNG file.
    """
    pictures = {name: _to_rgb(values) for name, values in columns.items()}
    count, height, width = next(iter(pictures.values())).shape[:3]
    zoom = max(1, 128 // height)  # small scenes are shown larger, pixel by pixel
    height, width = zoom * height, zoom * width
    canvas = Image.new("RGB", ((width + GAP) * len(pictures) + GAP, (height + GAP) * count + GAP + TITLE), "white")
    draw = ImageDraw.Draw(canvas)
    for column, (name, values) in enumerate(pictures.items()):
        left = GAP + column * (width + GAP)
        draw.text((left, 2), name, fill="black")
        for row, value in enumerate(values):
            picture = Image.fromarray(value).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(picture, (left, TITLE + GAP + row * (height + GAP)))
    return png(canvas)


def photo_grid(names: Sequence[str], rows: Sequence[Sequence[np.ndarray | None]]) -> bytes:
    """A row a photo, each as high as its pictures are, a column a kind of picture, with the columns' names above.

    Args:
        names: of the columns.
        rows: of pictures, one a column: `[H, W, 3]` or `[H, W]` uint8, all of one width, and those of a row of one
            height; `None` where there is none.

    Returns:
        A PNG file.
    """
    sizes = [next(picture.shape[:2] for picture in row if picture is not None) for row in rows]
    width = sizes[0][1]
    font = ImageFont.load_default(min(16, width // 8))
    title = font.size + 2 * GAP if isinstance(font, ImageFont.FreeTypeFont) else TITLE
    canvas = Image.new(
        "RGB",
        (GAP + (width + GAP) * len(names), round(title) + GAP + sum(height + GAP for height, _ in sizes)),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(names):
        left, top = GAP + column * (width + GAP), round(title) + GAP
        draw.text((left, GAP), name, fill="black", font=font)
        for row, (height, _) in zip(rows, sizes):
            picture = row[column]
            if picture is None:
                draw.line((left, top, left + width - 1, top + height - 1), fill="lightgray")
            else:
                canvas.paste(Image.fromarray(picture), (left, top))
            top += height + GAP
    return png(canvas)


def learning_curve(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> bytes:
    """How a run went: validation scores, mask coverage and entropy, losses, discriminators' accuracies, where known.

    Args:
        rows: the objects of `metrics.jsonl`, in order; where they are of several stages, those follow each other, with
            a line between.
        title: above the picture.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    begins: dict[str, int] = {}  # stage -> steps before it
    reached = 0
    for row in rows:
        begins.setdefault(row["stage"], reached)
        reached = begins[row["stage"]] + row["step"]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    if title:
        figure.suptitle(title)
    panels = {
        "validation": ("validation_f_measure", "validation_mae"),
        "mask": ("coverage", "coverage_spread", "mask_entropy"),
        "losses": ("g_loss", "bilateral", "pastes", "d_loss_clear", "d_loss_blur", "loss"),
        "discriminators' accuracy": ("disc_clear_accuracy", "disc_blur_accuracy", "accuracy"),
    }
    known = set().union(*rows)
    panels = {name: metrics for name, metrics in panels.items() if known & set(metrics)} or panels
    grid = list(figure.subplots(2, 2).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, (name, metrics) in zip(grid, panels.items(), strict=False):
        for metric in metrics:
            points = [(begins[row["stage"]] + row["step"], row[metric]) for row in rows if metric in row]
            if points:
                axes.plot(*zip(*points), label=metric, marker="." if len(points) < 30 else None, linewidth=1)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
        for stage, begin in begins.items() if len(begins) > 1 else ():
            axes.axvline(begin, color="gray", linestyle=":", linewidth=1)
            axes.annotate(f" {stage}", (begin, 0.01), xycoords=("data", "axes fraction"), fontsize=7, color="gray")
    return figure_png(figure)


def _to_rgb(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != np.uint8:
        values = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    if values.ndim == 3:
        values = values[..., None]
    return np.broadcast_to(values, (*values.shape[:3], 3))

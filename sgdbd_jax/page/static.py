"""The page as files for any web host: the model runs in the visitor's browser, and photos stay there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from sgdbd_jax.detection import focus
from sgdbd_jax.detection.refine import Refinement, chosen
from sgdbd_jax.files import write_atomically
from sgdbd_jax.page.files import ASSETS, page_html

MODEL, RUNTIME = "model.onnx", "runtime"
PIXELS = 100_000_000  # of a photo, which take a gigabyte while it is worked on
FOCUS = {  # what the page measures by
    "side": focus.SIDE,
    "fine": focus.FINE,
    "coarse": focus.COARSE,
    "flat": focus.FLAT,
    "window": focus.WINDOW,
    "blurredWeight": focus.BLURRED_WEIGHT,
    "speck": focus.SPECK,
    "leastShare": focus.LEAST_SHARE,
    "leastScore": focus.LEAST_SCORE,
    "mostShare": focus.MOST_SHARE,
    "leastCertainty": focus.LEAST_CERTAINTY,
    "leastSide": focus.LEAST_SIDE,
}


def write_page(
    out: Path, model: bytes, runtime: Mapping[str, bytes], *, work_size: int | str, refinement: Refinement | None
) -> None:
    """Writes the page; what else is in its folder stays.

    Args:
        out: a folder; is made.
        model: an ONNX file, from `[N, H, W, 3]` uint8 of any size to `[N, H, W]` float32 in [0, 1].
        runtime: onnxruntime-web's files, by their names.
        work_size: as a `Detector` takes it.
        refinement: of masks, or none. No browser cuts by colours: they are refined by edges alone.

    Raises:
        UserError: a file cannot be written.
    """
    edges = None if refinement is None else asdict(chosen(refinement, "edges"))
    settings = {"mode": "browser", "model": MODEL, "runtime": f"{RUNTIME}/", "pixels": PIXELS, "focus": FOCUS}
    page = page_html({**settings, "work_size": work_size, "refinement": edges})
    files = {MODEL: model, **{f"{RUNTIME}/{name}": data for name, data in runtime.items()}}
    files |= {name: (ASSETS / name).read_bytes() for name in ("style.css", "page.js")}
    for name, data in {**files, "index.html": page}.items():  # last what shows the others
        write_atomically(out / name, data)

"""HiFST's maps of a folder's photos: `python -m experiments.benchmark.hifst PHOTOS --out DIR`.

HiFST (Golestaneh and Karam, CVPR 2017) needs no training; this is Utkarsh Deshmukh's port of it, the package
`blur-detector` of PyPI, called as its own description calls it: on grey photos, at their own size.
"""

import argparse
from pathlib import Path

import blur_detector
import cv2
import numpy as np


def main() -> None:
    """Writes an 8-bit `NAME.png` a photo, white = sharp."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark.hifst")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(options.photos.iterdir()):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        sharp = blur_detector.detectBlur(
            grey, downsampling_factor=4, num_scales=4, scale_start=2, num_iterations_RF_filter=3, show_progress=False
        )
        cv2.imwrite(str(options.out / f"{path.stem}.png"), np.round(255 * sharp).astype(np.uint8))


if __name__ == "__main__":
    main()

"""Photos and masks are paired by name."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data.pairs import pair_files
from sgdbd_jax.data.photos import load_mask
from sgdbd_jax.errors import UserError

SHARED_DATA = os.environ.get("SGDBD_SHARED_DATA")


def test_long_lists_are_cut():
    paths = [Path(f"{number:02d}.png") for number in range(20)]
    with pytest.raises(UserError, match="names asked for: 20, 21, 22, 23, 24, 25 and 4 more"):
        pair_files(paths, paths, names=[str(number) for number in range(20, 30)])


def mode_of(path):
    with Image.open(path) as image:
        return image.mode


@pytest.mark.skipif(not SHARED_DATA, reason="SGDBD_SHARED_DATA does not name the folder of the CUHK photos")
def test_cuhk_on_disk_pairs_and_its_colour_masks_decode():
    cuhk = Path(SHARED_DATA) / "cuhk"
    with (cuhk / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 704
    listed = {row["image"] for row in rows if row["split"] != "test"}
    pairs, unpaired = pair_files(sorted((cuhk / "image").iterdir()), sorted((cuhk / "gt").iterdir()))
    assert {image.name for image, _ in pairs} == listed and not any(unpaired.values())
    colour = [mask for _, mask in pairs if mode_of(mask) == "RGBA"]
    assert colour
    for path in colour[:3]:
        mask = load_mask(path, white="blurred")
        red = np.asarray(Image.open(path))[..., 0]
        np.testing.assert_array_equal(mask, 255 - red)  # white in the file is blurred
        assert set(np.unique(mask)) == {0, 255}

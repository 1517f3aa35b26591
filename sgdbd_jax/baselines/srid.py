"""SRID, or "just noticeable" blur: a count of atoms. Few blurred atoms rebuild what is blurred, many what is sharp.

Shi, Xu, Jia, "Just Noticeable Defocus Blur Detection and Estimation", CVPR 2015.

Grades: A (read from the authors' program) for what is done with a photo, but for the window of the last filter; C
(reconstructed) for the dictionary, of which only its size and that it comes from blurred patches is known. The program
has a second setting, which its authors chose by eye for photos with texture everywhere; this is the first.

Learned from: clear photos, blurred; no masks. Unsupervised.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from sgdbd_jax.backend import start_jax
from sgdbd_jax.baselines import domain_transform
from sgdbd_jax.baselines.joint_filters import joint_bilateral
from sgdbd_jax.baselines.learned import read_learned
from sgdbd_jax.baselines.maps import checked, grey, minmax
from sgdbd_jax.baselines.pursuit import learn_dictionary, pursue
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.run import Reporter

SIDE, ATOMS = 8, 128  # of a block, in pixels; of the dictionary
TOLERANCE = SIDE * 2 * 1.15  # noise of standard deviation 2 of 255 levels, and a gain
MOST = 64  # atoms of a block
EDGE = 3  # blocks with more atoms, and none with fewer near, are where sharpness is known
BLOCKS_AT_ONCE = 1 << 16

# Of the training, all C.
BLUR = 2.0  # standard deviation in pixels
WEAKEST = 20.0  # a patch whose length is less, once its mean is taken, teaches nothing
PATCHES, ROUNDS, MOST_IN_TRAINING = 100_000, 20, 8


def detect(photo: Any, learned: Mapping[str, Any] | None = None) -> np.ndarray:
    """The photo's sharpness, spread from its edges; 2 to 20 s for 480x640 pixels, by texture.

    Args:
        photo: `[H, W, 3]` uint8, or as `Detector` takes one.
        learned: as `read` and `train` give it; what is shipped by default.

    Returns:
        `[H, W]` float32 in [0, 1], 1 = in focus; zeros where no edge is sharp.

    Raises:
        ValueError, TypeError, UserError: no photo; or nothing is shipped.
    """
    start_jax()
    levels = grey(checked(photo))
    height, width = levels.shape
    # A photo that is smaller than a block goes on as its border is.
    levels = np.pad(levels, ((0, max(SIDE - height, 0)), (0, max(SIDE - width, 0))), mode="edge")
    counts = count_atoms(levels, (_shipped() if learned is None else learned)["dictionary"])
    before, after = SIDE // 2 - 1, SIDE // 2
    inner = levels[before:-after, before:-after] / np.float32(255)
    guide = cv2.GaussianBlur(inner, (5, 5), 1, borderType=cv2.BORDER_CONSTANT)
    disk = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    known = cv2.erode((counts > EDGE).astype(np.float32), disk.astype(np.uint8))
    reach = domain_transform.filter(known, guide, 15, 0.15)
    spread = domain_transform.filter(counts * known, guide, 15, 0.15)
    sharpness = np.where(reach < 1e-6, 0, spread / np.maximum(reach, 1e-6))
    sharpness = joint_bilateral(sharpness, guide, radius=8, spatial=5, range_=0.1)
    return minmax(np.pad(sharpness, (before, after), mode="edge")[:height, :width])


def read(path: str | os.PathLike | None = None) -> dict[str, Any]:
    """What was learned, from a weight file; `None` for the shipped one.

    Returns:
        `{"dictionary": [64, 128] float32}`, its columns of length 1.

    Raises:
        UserError: as `read_learned`.
    """
    return read_learned(path, "srid", {"dictionary": np.zeros((SIDE**2, ATOMS))})


def count_atoms(levels: np.ndarray, dictionary: np.ndarray) -> np.ndarray:
    """How many atoms each block takes, less its mean.

    Args:
        levels: `[H, W]` float32 grey in [0, 255], 8 pixels a side or more.
        dictionary: `[64, 128]` float32, columns of length 1.

    Returns:
        `[H-7, W-7]` float32 whole numbers from 0 to 64.
    """
    blocks = np.lib.stride_tricks.sliding_window_view(levels, (SIDE, SIDE))
    counts = np.zeros(blocks.shape[:2], np.float32)
    rows = max(BLOCKS_AT_ONCE // blocks.shape[1], 1)
    for top in range(0, len(blocks), rows):
        atoms = pursue(_less_mean(blocks[top : top + rows]), dictionary, tolerance=TOLERANCE, most=MOST)
        counts[top : top + rows] = (atoms >= 0).sum(1).reshape(-1, blocks.shape[1])
    return counts


def train(
    photos: Sequence[np.ndarray], seed: int, *, reporter: Reporter | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Learns a dictionary by K-SVD from patches of clear photos that were blurred, and are of whole levels again.

    K-SVD, since the tolerance is that of its authors' programs; the same tolerance holds in the training. It takes a
    minute at most, and keeps nothing on the way.

    Args:
        photos: `[H, W, 3]` uint8, sharp.
        seed: of all that is drawn.
        reporter: told of progress.

    Returns:
        The tree and the metadata of a weight file: `save_weights(path, *train(photos, 0))`.

    Raises:
        UserError: the photos have too few patches with anything to see.
    """
    start_jax()
    reporter = reporter or Reporter()
    rng = np.random.default_rng(seed)
    each = -(-PATCHES // max(len(photos), 1))
    patches = np.concatenate([np.zeros((0, SIDE**2), np.float32), *(_patches(photo, each, rng) for photo in photos)])
    if len(patches) < ATOMS:
        raise UserError(
            f"SRID learns from {ATOMS} patches at the least, these {len(photos)} photos have {len(patches)} that are"
            f" not flat; give it more photos, or larger ones"
        )
    reporter.stage("SRID's dictionary", 0, ROUNDS)
    means: list[float] = []

    def progress(mean: float) -> None:
        means.append(mean)
        reporter.step({"atoms": mean})

    dictionary = learn_dictionary(
        patches, atoms=ATOMS, tolerance=TOLERANCE, most=MOST_IN_TRAINING, rounds=ROUNDS, rng=rng, progress=progress
    )
    metadata = {"kind": "srid", "seed": seed, "patches": len(patches), "rounds": ROUNDS, "blur": BLUR}
    return {"dictionary": dictionary}, metadata | {"atoms_per_patch": round(means[-1], 3)}


def _patches(photo: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` blocks of a photo that was blurred, drawn at random among those that are not flat: `[N, 64]`."""
    levels = cv2.GaussianBlur(np.rint(grey(photo)).astype(np.uint8), (0, 0), BLUR)
    if min(levels.shape) < SIDE:
        return np.zeros((0, SIDE**2), np.float32)
    blocks = np.lib.stride_tricks.sliding_window_view(levels.astype(np.float32), (SIDE, SIDE))
    rows, columns = (rng.integers(size, size=4 * count) for size in blocks.shape[:2])
    drawn = _less_mean(blocks[rows, columns])
    return drawn[np.linalg.norm(drawn, axis=1) >= WEAKEST][:count]


def _less_mean(blocks: np.ndarray) -> np.ndarray:
    """Blocks `[..., 8, 8]` as `[N, 64]` float32, each less its own mean."""
    flat = blocks.reshape(-1, SIDE**2)
    return flat - flat.mean(1, keepdims=True)


@functools.cache
def _shipped() -> dict[str, Any]:
    return read()

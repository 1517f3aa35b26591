"""Scenes photographed twice, focused at two depths: what is sharp in one photo is not in the other.

Nobody need mark such scenes: comparing the two photos says where which is sharp, and a mask of either can be checked.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.errors import UserError, abbreviate

if TYPE_CHECKING:
    import numpy as np

    from sgdbd_jax.data.sources import PhotoSet
    from sgdbd_jax.data.threads import Progress

UNKNOWN = 128  # in a vote: neither is clearly sharper
LOST = 0.6  # share of its known pixels below which a photo is taken for the other one, or for neither
# `right`: the mean over photos of the share of known pixels on the right side of a half; `lowest_tenth`: the mean of
# the tenth of photos with the least; `lost`: scenes of which both photos are below `LOST`.
MEASURES = {"right", "lowest_tenth", "lost"}


def load_two_focus(folder: str | os.PathLike) -> PhotoSet:
    """Reads scenes of two photos each.

    Args:
        folder: has `input/NAME/NAME_A.*` and `NAME_B.*`, photos of one size, and a mask file `vote/NAME.*`: 255 where A
            is in focus, 0 where B is, 128 where it is unknown.

    Returns:
        The photos, `NAME_A` and `NAME_B` of each scene one after the other, by name; their masks are `[H, W]` uint8,
        255 = in focus, 0 = not, 128 = unknown.

    Raises:
        UserError: no such folder; a scene without votes or without one photo of each letter, or votes without a scene;
            a size that differs; a vote of other levels, or without any known pixel.
    """
    from sgdbd_jax.data.listing import by_stem, list_masks
    from sgdbd_jax.data.photos import load_mask, load_photo
    from sgdbd_jax.data.sources import PhotoSet

    folder = Path(folder)
    names: list[str] = []
    photos: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    scenes, votes = _folders(folder / "input"), by_stem(list_masks(folder / "vote"))
    if unknown := sorted(votes.keys() - {_composed(scene.name) for scene in scenes}):
        raise UserError(f"{folder / 'vote'}: {abbreviate(unknown)} {'has' if len(unknown) == 1 else 'have'} no photos")
    for scene in scenes:
        vote_file = votes.get(_composed(scene.name))
        if vote_file is None:
            raise UserError(f"{scene}: has no votes in {folder / 'vote'}; add them, or take the photos away")
        vote = load_mask(vote_file, white="focused", labels=False)
        _check_vote(vote_file, vote)
        for letter, in_focus in (("A", vote), ("B", _inverse(vote))):
            path = _photo_of(scene, letter)
            photo = load_photo(path)
            if photo.shape[:2] != vote.shape:
                sizes = [f"{shape[1]}x{shape[0]}" for shape in (photo.shape, vote.shape)]
                raise UserError(f"{path}: is {sizes[0]}, and {vote_file} is {sizes[1]}; make them equal")
            names.append(path.name)
            photos.append(photo)
            masks.append(in_focus)
    return PhotoSet(tuple(names), photos, masks)


def score_two_focus(
    weights: Path, photos: PhotoSet, *, progress: Progress | None = None
) -> dict[tuple[str, str], dict[str, float | None]]:
    """Scores a generator's file on such photos, seen at their own size.

    Args:
        weights: the file.
        photos: as `load_two_focus` gives them.
        progress: called after each photo.

    Returns:
        Each of `MEASURES`, by size (`own`) and refinement, as in `weight_scores`.

    Raises:
        UserError: the file cannot be used.
    """
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.detection.refine import chosen
    from sgdbd_jax.evaluation.weight_scores import REFINEMENTS, SIZES

    asked = Detector.load(weights).refinement
    refine = {"edges": chosen(asked, "edges"), "cut": chosen(asked, "colours")}
    detect = Detector.load(weights, work_size=SIZES["own"], refine=False)
    shares: dict[str, list[float]] = {how: [] for how in REFINEMENTS}
    for done, (photo, truth) in enumerate(zip(photos.images, photos.masks or (), strict=True), start=1):
        mask = detect(photo)
        for how in REFINEMENTS:
            shares[how].append(share_right(refine[how](mask, photo) if how in refine else mask, truth))
        if progress is not None:
            progress(done, len(photos.names))
    return {("own", how): summary(found) for how, found in shares.items()}


def share_right(mask: np.ndarray, truth: np.ndarray) -> float:
    """The share of known pixels on the right side of a half.

    Args:
        mask: `[H, W]` float in [0, 1].
        truth: `[H, W]` uint8, 255 = in focus, 0 = not, 128 = unknown.
    """
    known = truth != UNKNOWN
    return float(((mask >= 0.5) == (truth == 255))[known].mean())


def summary(shares: Sequence[float]) -> dict[str, float | None]:
    """`MEASURES` of the shares of pixels that are right, of A and B of each scene one after the other."""
    import numpy as np

    lowest = np.sort(shares)[: max(1, len(shares) // 10)]
    lost = sum(max(pair) < LOST for pair in zip(shares[::2], shares[1::2], strict=True))
    return {"right": float(np.mean(shares)), "lowest_tenth": float(lowest.mean()), "lost": float(lost)}


def _folders(folder: Path) -> list[Path]:
    """The scenes' folders, by name.

    Raises:
        UserError: there are none.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); pairs lie in input/NAME and vote/") from error
    if not found:
        raise UserError(f"{folder}: holds no folders; a scene's photos lie in one each, input/NAME/NAME_A.*")
    return found


def _composed(name: str) -> str:
    """A name with its accents written in one way, as of `photo_stem`."""
    return unicodedata.normalize("NFC", name)


def _photo_of(scene: Path, letter: str) -> Path:
    """The one photo of a scene that has this letter.

    Raises:
        UserError: there is none, or several.
    """
    from sgdbd_jax.data.listing import list_photos, photo_stem

    wanted = _composed(f"{scene.name}_{letter}")
    found = [path for path in list_photos(scene) if photo_stem(path.name) == wanted]
    if len(found) != 1:
        raise UserError(f"{scene}: {len(found)} photos are called {wanted}; there must be one")
    return found[0]


def _check_vote(path: Path, vote: np.ndarray) -> None:
    """Refuses votes that are not of three levels, or say nothing."""
    import numpy as np

    levels = set(np.unique(vote).tolist())
    if not levels <= {0, UNKNOWN, 255}:
        other = min(levels - {0, UNKNOWN, 255})
        raise UserError(f"{path}: has level {other}; votes are 255 (A is in focus), 0 (B is) and {UNKNOWN} (unknown)")
    if levels == {UNKNOWN}:
        raise UserError(f"{path}: no pixel is known; take the scene away")


def _inverse(vote: np.ndarray) -> np.ndarray:
    """A vote for B: what is unknown stays so."""
    import numpy as np

    return np.where(vote == UNKNOWN, vote, 255 - vote).astype(np.uint8)

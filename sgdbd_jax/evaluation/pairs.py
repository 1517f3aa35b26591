"""Files to score: photos paired with their ground truths, and with masks made earlier; all read once before scoring."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgdbd_jax.data.listing import list_photos
from sgdbd_jax.data.pairs import load_pair, pair_files
from sgdbd_jax.data.photos import White, load_mask
from sgdbd_jax.data.polarity import focus_is_sharper, polarity_fault
from sgdbd_jax.data.threads import Progress, read_all
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.protocols import Floats, Protocol

Pair = tuple[Path, Path]  # the file of a photo, and of its ground truth
MaskOf = Callable[[Path, np.ndarray], np.ndarray]  # from a photo's file and pixels to its mask, for `Protocol.prepare`


class Predictions:
    """Masks made earlier, a file a photo: white = in focus, named like the photos.

    Args:
        folder: of the masks.
        photos: the files of the photos.
        protocol: by which they are to be scored.

    Attributes:
        missing: names of the photos that have none.
        unknown: names of the masks that belong to no photo.

    Raises:
        UserError: no such folder, no masks in it, or two of one name.
    """

    def __init__(self, folder: Path, photos: Sequence[Path], protocol: Protocol) -> None:
        pairs, problems = pair_files(photos, list_photos(folder))
        self.missing, self.unknown = problems["photos without a mask"], problems["masks without a photo"]
        self._files, self._protocol = dict(pairs), protocol

    def __contains__(self, photo: Path) -> bool:
        return photo in self._files

    def __call__(self, photo: Path, pixels: np.ndarray) -> np.ndarray:
        """Reads the mask of a photo: as large as the photo, or as the protocol resizes it to anyway.

        Args:
            photo: its file.
            pixels: `[H, W, 3]` uint8.

        Returns:
            `[h, w]` uint8, 255 = in focus.

        Raises:
            UserError: it cannot be read, or is of another size.
        """
        path = self._files[photo]
        mask = load_mask(path, white="focused")
        if mask.shape not in (pixels.shape[:2], self._protocol.size_of(pixels)):
            mask_size, photo_size = (f"{width}x{height}" for height, width in (mask.shape, pixels.shape[:2]))
            raise UserError(f"{path} is {mask_size}, its photo {photo_size}")
        return mask


@dataclass(frozen=True)
class Check:
    """What there is to say of files once all have been read.

    Attributes:
        usable: the pairs that can be scored.
        faults: what is wrong, for each of the others.
        polarity: why it is doubtful that white means `white` in the ground truths, or `None`; see `polarity_fault`.
    """

    usable: list[Pair]
    faults: list[str]
    polarity: str | None


def check_pairs(
    pairs: Sequence[Pair], *, white: White, predictions: Predictions | None = None, progress: Progress | None = None
) -> Check:
    """Reads everything once before any scoring: a fault in the last file must not cost the time of the others.

    Args:
        pairs: of photos and ground truths.
        white: what white means in the ground truths.
        predictions: the masks to be scored, where they are files: a mask for each of the photos.
        progress: called after each pair.
    """

    def check(pair: Pair) -> bool | None:
        photo, truth = load_pair(*pair, white=white)
        if predictions is not None:
            predictions(pair[0], photo)
        return focus_is_sharper(photo, truth)

    usable, votes, faults = [], [], []
    for pair, vote in zip(pairs, read_all(check, pairs, progress=progress), strict=True):
        if isinstance(vote, UserError):
            faults.append(str(vote))
        else:
            usable.append(pair)
            votes.append(vote)
    return Check(usable, faults, polarity_fault(votes))


def masks_and_truths(
    pairs: Iterable[Pair], mask_of: MaskOf, *, white: White, protocol: Protocol
) -> Iterator[tuple[Floats, Floats]]:
    """What `scoring.score` takes, one image at a time: a benchmark of large photos fits in memory too.

    Args:
        pairs: of photos and ground truths, that have been checked.
        mask_of: gives the masks: `Predictions`, or a detector.
        white: what white means in the ground truths.
        protocol: brings masks and ground truths to its size.

    Yields:
        A mask and its ground truth, each `[H, W]` float32 in [0, 1].
    """
    for image, truth_file in pairs:
        photo, truth = load_pair(image, truth_file, white=white)
        yield protocol.prepare(mask_of(image, photo), truth)

"""Files to score: photos paired with their ground truths, and with masks made earlier; all read once before scoring."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgdbd_jax.data.labels import SHALLOW, ZEROS_AND_ONES
from sgdbd_jax.data.listing import Warn, list_masks
from sgdbd_jax.data.pairs import DARKEST_WHITE, Notes, describe, load_pair, pair_files
from sgdbd_jax.data.photos import White, load_mask
from sgdbd_jax.data.polarity import focus_is_sharper, inversion_fault, is_brighter_in_focus, polarity_fault
from sgdbd_jax.data.resizing import resize_photo
from sgdbd_jax.data.threads import Progress, read_all
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.protocols import Floats, Protocol

Pair = tuple[Path, Path]  # the file of a photo, and of its ground truth
MaskOf = Callable[[Path, np.ndarray], np.ndarray]  # from a photo's file and pixels to its mask, for `Protocol.prepare`


class Predictions:
    """Masks made earlier, a file a photo: white = in focus, named like the photos.

    In masks of nothing but 0 and 1, the ones are white, unless other masks of the folder have greys: then they are
    greys too, nearly black. Which it is shows once all have been looked at.

    Args:
        folder: of the masks.
        photos: the files of the photos.
        protocol: by which they are to be scored.
        warn: told of files that are left out; see `list_masks`.

    Attributes:
        missing: names of the photos that have none.
        unknown: names of the masks that belong to no photo.

    Raises:
        UserError: no such folder, no masks in it, or two of one name.
    """

    def __init__(self, folder: Path, photos: Sequence[Path], protocol: Protocol, *, warn: Warn | None = None) -> None:
        pairs, problems = pair_files(photos, list_masks(folder, photos=photos[0].parent if photos else None, warn=warn))
        self.missing, self.unknown = problems["photos without a mask"], problems["masks without a photo"]
        self._files, self._protocol = dict(pairs), protocol
        self._notes, self._grey, self._brightest = Notes(), False, 0

    def __contains__(self, photo: Path) -> bool:
        return photo in self._files

    def look(self, photo: Path, pixels: np.ndarray) -> np.ndarray:
        """Reads the mask of a photo for the first time; arguments, result and errors are those of a call."""
        path = self._files[photo]
        said: list[str] = []
        mask = self._checked(load_mask(path, white="focused", note=said.append), photo, pixels)
        for what in said:
            self._notes.of(path)(what)
        if not {ZEROS_AND_ONES, SHALLOW} & set(said) and ((mask > 0) & (mask < 255)).any():
            self._grey = True
        self._brightest = max(self._brightest, int(mask.max()))
        return mask

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
        return self._checked(load_mask(self._files[photo], white="focused", labels=not self._grey), photo, pixels)

    def notes(self) -> str:
        """What is odd about the masks that have been looked at; empty if nothing is."""
        if self._brightest < DARKEST_WHITE:
            return f"no pixel of any mask is above {self._brightest} of 255, so all are scored as nearly black"
        if not self._grey:
            return self._notes.text()
        dark = self._notes[ZEROS_AND_ONES] + self._notes[SHALLOW]
        problems = {"masks of tiny values among masks of greys, taken as nearly black": dark}
        return "; ".join(filter(None, (describe(problems), self._notes.text(leave_out=(ZEROS_AND_ONES, SHALLOW)))))

    def _checked(self, mask: np.ndarray, photo: Path, pixels: np.ndarray) -> np.ndarray:
        if mask.shape not in (pixels.shape[:2], self._protocol.size_of(pixels)):
            mask_size, photo_size = (f"{width}x{height}" for height, width in (mask.shape, pixels.shape[:2]))
            raise UserError(f"{self._files[photo]} is {mask_size}, its photo {photo_size}")
        return mask


@dataclass(frozen=True)
class Check:
    """What there is to say of files once all have been read.

    Attributes:
        usable: the pairs that can be scored.
        faults: what is wrong, for each of the others.
        polarity: why it is doubtful that white means `white` in the ground truths, or `None`; see `polarity_fault`.
        inversion: why it is doubtful that white means in focus in the predictions, or `None`; see `inversion_fault`.
        notes: what is odd about the ground truths; empty if nothing is.
    """

    usable: list[Pair]
    faults: list[str]
    polarity: str | None
    inversion: str | None
    notes: str


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

    notes = Notes()

    def check(pair: Pair) -> tuple[bool | None, bool | None]:
        photo, truth = load_pair(*pair, white=white, note=notes.of(pair[1]))
        sharper = focus_is_sharper(photo, truth)
        if predictions is None:
            return sharper, None
        mask = predictions.look(pair[0], photo)
        return sharper, is_brighter_in_focus(mask, resize_photo(truth, (mask.shape[0], mask.shape[1])))

    usable, votes, faults = [], [], []
    for pair, vote in zip(pairs, read_all(check, pairs, progress=progress), strict=True):
        if isinstance(vote, UserError):
            faults.append(str(vote))
        else:
            usable.append(pair)
            votes.append(vote)
    polarity = polarity_fault(truth for truth, _ in votes)
    return Check(usable, faults, polarity, inversion_fault(mask for _, mask in votes), notes.text())


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

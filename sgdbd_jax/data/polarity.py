"""Do the masks say the same of focus as the photos? White means in focus in some benchmarks, blurred in others."""

from collections.abc import Iterable

import numpy as np


def focus_is_sharper(photo: np.ndarray, mask: np.ndarray) -> bool | None:
    """Whether the part that a mask calls in focus is the sharper part of the photo.

    Sharpness is the mean absolute Laplacian of the photo's grey values.

    Args:
        photo: `[H, W, 3]` uint8.
        mask: `[H, W]` uint8, 255 = in focus.

    Returns:
        The answer, or `None` where one of the two parts is less than a hundredth of the photo.
    """
    grey = photo.mean(axis=-1, dtype=np.float32)
    centre = grey[1:-1, 1:-1]
    laplacian = np.abs(4 * centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
    focused = mask[1:-1, 1:-1] > 127
    if not focused.size or not 0.01 <= focused.mean() <= 0.99:
        return None
    return bool(laplacian[focused].mean() > laplacian[~focused].mean())


def is_brighter_in_focus(mask: np.ndarray, truth: np.ndarray) -> bool | None:
    """Whether a mask is brighter where its ground truth says in focus than where it says blurred.

    Args:
        mask: `[H, W]` uint8, 255 = in focus.
        truth: `[H, W]` uint8, 255 = in focus.

    Returns:
        The answer, or `None` where one part of the truth is less than a hundredth, or the mask is about as bright in
        both: less than a tenth of white apart.
    """
    focused = truth > 127
    if not 0.01 <= focused.mean() <= 0.99:
        return None
    difference = mask[focused].mean() - mask[~focused].mean()
    return bool(difference > 0) if abs(difference) >= 25.5 else None


def inversion_fault(votes: Iterable[bool | None]) -> str | None:
    """Judges a set of masks by `is_brighter_in_focus` of each: inverted if at most one photo in three is right.

    Args:
        votes: one answer a photo; `None` abstains.

    Returns:
        `None`, or what is wrong, as the middle of a message.
    """
    cast = [vote for vote in votes if vote is not None]
    right = sum(cast)
    if not cast or 3 * right > len(cast):
        return None
    return (
        f"the masks are inverted (brighter where the ground truths are blurred in {len(cast) - right} of {len(cast)})"
    )


def polarity_fault(votes: Iterable[bool | None]) -> str | None:
    """Judges a set of masks by `focus_is_sharper` of each: right on at least two photos in three, or at fault.

    One photo proves nothing (a plain wall in focus is smoother than a blurred hedge), but over CUHK's 604 training
    photos 99% agree.

    Args:
        votes: one answer a photo; `None` abstains.

    Returns:
        `None`, or what is wrong, as the middle of a message.
    """
    cast = [vote for vote in votes if vote is not None]
    if not cast:
        return "every mask is wholly white or wholly black"
    right = sum(cast)
    if 3 * right >= 2 * len(cast):
        return None
    verdict = "are inverted" if 3 * right <= len(cast) else "do not fit the photos"
    return f"the masks {verdict} (the part in focus is the sharper one in only {right} of {len(cast)} photos)"

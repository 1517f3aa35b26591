"""What a photo and its mask say in numbers: how much is in focus, how sharply, where, and whether to believe it.

All of it is measured on a copy of one size, so that neither the numbers nor their cost grow with the photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 512  # pixels of the longer side at which photos are measured
FINE, COARSE = 2.0, 4.0  # pixels of that copy: the Gaussians' sigma at which gradients are compared
DETAIL_SIDE = 1024  # pixels of the longer side at which sharpness is measured, of shots of one scene
DETAIL_FINE, DETAIL_COARSE = 1.0, 2.0  # pixels of that copy: the Gaussians' sigma
FLAT = 0.5  # grey levels (of 255) a pixel of that copy: the gradient of a clear sky, or of a sensor's noise
WINDOW = 33  # pixels of that copy: the square in which texture is looked for
BLURRED_WEIGHT = 0.2  # of what is out of focus, in the score; with less, the score leaps where a mask does
SPECK = 0.02  # of the largest part in focus; smaller parts do not stretch the box
LEAST_SHARE = 0.01  # below it nothing counts as in focus
LEAST_SCORE = 0.4  # below it what the mask holds is blurred itself; photos sharp somewhere were seen from 0.45 on
MOST_SHARE = 0.9  # from it on all counts as in focus
LEAST_CERTAINTY = 0.55  # below it masks of validation photos were twice as wrong as above: MAE 0.20 to 0.09
LEAST_SIDE = 32  # pixels of the photo's own shorter side

FLAGS = {
    "all_sharp": f"At least {MOST_SHARE:.0%} of what has texture is in focus",
    "nothing_sharp": f"Less than {LEAST_SHARE:.0%} is in focus, or the score is below {LEAST_SCORE}",
    "low_confidence": f"What the network itself said of the part in focus is less than {LEAST_CERTAINTY} above what it "
    f"said of the rest, or half the photo or more has no texture, or the photo is less than {LEAST_SIDE} pixels wide "
    "or high",
}


@dataclass(frozen=True)
class Focus:
    """The numbers of one photo; lengths in its pixels, from its upper left corner."""

    share: float  # of the photo that is in focus (mask of 0.5 or more), in [0, 1]
    score: float  # how sharp that is, in [0, 1]; see `focus_score`
    box: tuple[int, int, int, int] | None  # left, top, right, bottom around what is in focus, specks left out
    centre: tuple[float, float] | None  # x, y: the centre of gravity of what is in focus
    unknown: float  # share of the photo without texture, sharp or blurred, in [0, 1]: no method can tell its focus
    flags: tuple[str, ...]  # those of `FLAGS` that hold, in that order
    sharpness: float | None = None  # see `sharpness_inside`; earlier versions did not measure it


def measure(photo: np.ndarray, mask: np.ndarray, network_mask: np.ndarray | None = None) -> Focus:
    """Measures the focus of a photo, given its mask.

    Box and centre are exact for photos up to `SIDE` pixels, and to a pixel of the measured copy for larger ones.

    Args:
        photo: `[H, W, 3]` uint8 RGB; may be smaller than it is displayed, as `load_smaller` reads it.
        mask: `[H, W]` float in [0, 1], 1 = in focus, at the size at which it is displayed.
        network_mask: `[h, w]` float in [0, 1], of any size: the mask before it was refined; `None`: it was not. It only
            decides whether to believe the mask.

    Returns:
        The numbers; `box` and `centre` are `None` where nothing is in focus.

    Raises:
        ValueError: not such a photo and mask.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0:
        raise ValueError(f"a photo must be uint8 [H, W, 3], here {photo.dtype} {photo.shape}")
    if mask.ndim != 2 or not _same_shape(photo.shape[:2], mask.shape):
        raise ValueError(f"a mask must be of its photo's size {photo.shape[:2]}, here {mask.shape}")
    if network_mask is not None and network_mask.ndim != 2:
        raise ValueError(f"the network's mask must be [h, w], here {network_mask.shape}")
    grey = cv2.cvtColor(_at_working_size(photo, mask.shape), cv2.COLOR_RGB2GRAY).astype(np.float32)
    level = _at_working_size(mask.astype(np.float32, copy=False), mask.shape)
    focused = level >= 0.5
    fine, coarse = (_gradient_energy(grey, sigma) for sigma in (FINE, COARSE))
    score = focus_score(fine, coarse, focused)
    known = cv2.blur(coarse, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT) >= FLAT**2

    share, unknown = float(focused.mean()), 1 - float(known.mean())
    blurred = share < LEAST_SHARE or score < LEAST_SCORE
    if network_mask is None:
        network_mask = level
    else:
        network_mask = network_mask.astype(np.float32, copy=False)
        network_mask = cv2.resize(network_mask, level.shape[::-1], interpolation=cv2.INTER_LINEAR)
    unsure = certainty(network_mask, focused) < LEAST_CERTAINTY
    holds = {
        "all_sharp": not blurred and known.any() and focused[known].mean() >= MOST_SHARE,
        "nothing_sharp": blurred,
        "low_confidence": unsure or unknown >= 0.5 or min(mask.shape) < LEAST_SIDE,
    }
    box, centre = _place(focused, mask.shape) if focused.any() else (None, None)
    flags = tuple(flag for flag in FLAGS if holds[flag])
    return Focus(share, score, box, centre, unknown, flags, sharpness_inside(photo, level))


def sharpness_inside(photo: np.ndarray, mask: np.ndarray) -> float:
    """How sharp what is in focus is, the rest left out: for telling the sharpest of some shots of one scene.

    It is the ratio of `focus_score` two octaves finer, of Gaussians of `DETAIL_FINE` and `DETAIL_COARSE` pixels on a
    copy of `DETAIL_SIDE`, and without a say of the rest. So it shows a blur of half a thousandth of the longer side, on
    which scores agree; but noise of a small photo counts as detail, and scenes with more of it as sharper. Nor is it
    comparable between photos that were read in other ways: a smaller copy of a photo has less to lose.

    Args:
        photo: `[H, W, 3]` uint8 RGB.
        mask: `[h, w]` float32 in [0, 1], 1 = in focus, of any size.

    Returns:
        In [0, 1]; 0 where nothing is in focus.
    """
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)  # first, for a third of the work
    grey = _at_working_size(grey, photo.shape[:2], DETAIL_SIDE).astype(np.float32)
    focused = cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5
    if not focused.any():
        return 0.0
    fine, coarse = (_gradient_energy(grey, sigma) for sigma in (DETAIL_FINE, DETAIL_COARSE))
    return focus_score(fine, coarse, focused, rest=0)


def focus_score(fine: np.ndarray, coarse: np.ndarray, focused: np.ndarray, *, rest: float = BLURRED_WEIGHT) -> float:
    """The focus score: which share of the finest gradients a further blur would take away.

    What is sharp loses most of its gradients when it is blurred, and what is blurred already hardly any. After Crete,
    Dolmiere, Ladret and Nicolas, "The blur effect", 2007, with Gaussians for their box. The grey photo, brought to
    `SIDE` pixels on its longer side, is smoothed by a Gaussian of `FINE` pixels and, apart, by one of `COARSE` pixels;
    E is the mean of the squared gradient, in which what is in focus weighs 1 and the rest `BLURRED_WEIGHT`:

        score = (E_fine - E_coarse) / (E_fine + FLAT^2)

    It is relative: comparable between photos of one kind, and no physical unit. A photo without gradients, or blurred
    beyond them, has 0; lone edges come to 1/2, natural scenes (spectra of 1 / frequency^2) to 3/4, and nothing to 1.
    `FLAT` keeps the noise of an empty photo from counting as detail. The rest has its say so that a photo with nothing
    in focus has a score too, and so that a mask that shrinks as its photo is blurred does not raise it.

    Each further blur lowers it, if the mask stays: E, a sum of exponentials of the blur's variance, has a convex
    logarithm, hence both factors of `(1 - E_coarse / E_fine) * E_fine / (E_fine + FLAT^2)` fall. The photo's size
    matters little where it is half of `SIDE` or more. A blur below a thousandth of the longer side hardly shows.

    Args:
        fine, coarse: `[h, w]` float32, the squared gradients, in grey levels (of 255) squared a pixel squared.
        focused: `[h, w]` bool, what is in focus.
        rest: what the rest weighs.

    Returns:
        In [0, 1].
    """
    inside = focused.astype(np.uint8)
    share = cv2.countNonZero(inside) / inside.size
    parts = [(weight, part) for weight, part in ((share, inside), (rest * (1 - share), 1 - inside)) if weight]

    def mean(energy: np.ndarray) -> float:
        return sum(weight * cv2.mean(energy, part)[0] for weight, part in parts) / sum(weight for weight, _ in parts)

    before, after = mean(fine), mean(coarse)
    return max(before - after, 0.0) / (before + FLAT**2)


def certainty(network_mask: np.ndarray, focused: np.ndarray) -> float:
    """How sure the network was of the refined mask's two parts: its mean over what is in focus, less that of the rest.

    That is 1 less the mean doubts of both parts. Where there is one part only, its doubt counts for both. A refined
    mask shows no doubt itself, for refinement decides by colours what the network left open. A network that is wrong
    and sure of it is not noticed.

    Args:
        network_mask: `[h, w]` float in [0, 1].
        focused: `[h, w]` bool, what is in focus by the refined mask.

    Returns:
        In [-1, 1]: 1 where the network's mask is just that, 0 where it has the same mean in both parts, -1 where it is
        the opposite.
    """
    doubts = [doubt.mean() for doubt in (1 - network_mask[focused], network_mask[~focused]) if doubt.size]
    return 1 - 2 * float(np.mean(doubts))


def _same_shape(size: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a size is another's, or a part of both its sides, rounded up."""
    (height, width), (rows, columns) = size, whole
    return size == whole or (height < rows and abs(height * columns - width * rows) <= max(whole))


def _at_working_size(pixels: np.ndarray, whole: tuple[int, ...], side: int = SIDE) -> np.ndarray:
    """Brought to the size at which photos are measured that are displayed at `whole`, height and width."""
    scale = side / max(whole)
    size = (max(1, round(scale * whole[1])), max(1, round(scale * whole[0])))
    scale *= whole[0] / pixels.shape[0]
    # Averaging over areas keeps what is too fine for the copy from becoming false detail in it.
    enlarging = cv2.INTER_CUBIC if pixels.dtype == np.uint8 else cv2.INTER_LINEAR  # a mask must not overshoot
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA if scale < 1 else enlarging)


def _gradient_energy(grey: np.ndarray, sigma: float) -> np.ndarray:
    """`[H, W]` float32: the squared length of the gradient after a Gaussian, in grey levels squared a pixel squared."""
    border = cv2.BORDER_REFLECT
    smooth = cv2.GaussianBlur(grey, (0, 0), sigma, borderType=border)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *d, ksize=1, scale=0.5, borderType=border) for d in ((1, 0), (0, 1)))
    return across**2 + down**2


def _place(focused: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[int, int, int, int], tuple[float, float]]:
    """Box and centre of a `[h, w]` bool region that is not empty, in pixels of a photo of that (height, width)."""
    across, down = shape[1] / focused.shape[1], shape[0] / focused.shape[0]
    parts = cv2.connectedComponentsWithStats(focused.astype(np.uint8))[2][1:]
    parts = parts[parts[:, cv2.CC_STAT_AREA] >= SPECK * parts[:, cv2.CC_STAT_AREA].max()]
    start = parts[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    end = start + parts[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    left, top = (round(float(v)) for v in start.min(0) * (across, down))
    right, bottom = (round(float(v)) for v in end.max(0) * (across, down))
    rows, columns = np.nonzero(focused)
    centre = (float(columns.mean() + 0.5) * across, float(rows.mean() + 0.5) * down)
    return (left, top, max(right, left + 1), max(bottom, top + 1)), centre

"""What is done to a network's mask: it follows the photo's edges, and decides by the photo's own colours."""

from dataclasses import dataclass, replace

import numpy as np

from sgdbd_jax.data.resizing import resize_mask, resize_photo
from sgdbd_jax.errors import UserError

COMPONENTS = 5  # Gaussians a side: what OpenCV fixes


@dataclass(frozen=True)
class Refinement:
    """A guided filter, then a segmentation that begins where the mask is sure. Values were chosen on validation photos.

    A network that learned from small pastes says "perhaps" of what is only mildly out of focus, and of flat parts. What
    is sure in the same photo tells the colours of either side.
    """

    filter_side: int = 0  # pixels of the longer side at which the mask is filtered, at most; 0: all there are
    radius: float = 0.06  # of the guided filter's windows, as a share of the photo's longer side
    epsilon: float = 1e-4  # colour variance, of colours in [0, 1], below which a window counts as flat
    middle: float = 0.6  # level of the filtered mask above which a pixel is rather in focus
    blurred: float = 0.1  # level below which a pixel is surely out of focus,
    focused: float = 0.95  # and above which it is surely in focus,
    share: float = 0.1  # as is at least this share of a photo on either side, if it is on that side of the middle
    side: int = 480  # pixels of the longer side at which the photo is cut
    iterations: int = 3  # of the segmentation; 0 leaves it out

    def __post_init__(self) -> None:
        shares = (self.middle, self.blurred, self.focused, self.share)
        if not (0 < self.radius <= 1 and self.epsilon > 0 and all(0 <= share <= 1 for share in shares)):
            raise UserError(f"refinement: {self} has values beyond their range")
        counts = isinstance(self.side, int) and isinstance(self.iterations, int)
        counts = counts and isinstance(self.filter_side, int)
        if not counts or self.side < 1 or self.iterations < 0 or self.filter_side < 0:
            raise UserError(
                f"refinement: side {self.side!r}, filter_side {self.filter_side!r} and iterations {self.iterations!r}"
                " must be counts"
            )

    def __call__(self, mask: np.ndarray, photo: np.ndarray) -> np.ndarray:
        """A network's mask, refined.

        Args:
            mask: `[H, W]` float in [0, 1].
            photo: `[H, W, 3]` uint8, as the network saw it.

        Returns:
            `[H, W]` float32 in [0, 1]. If it is sure of one side only, the filtered mask is cut at the
            middle.

        Raises:
            UserError: the mask is not finite.
        """
        if not np.isfinite(mask).all():
            raise UserError("a mask is not finite: the generator has diverged; lower the learning rates")
        filtered = _at_most(self.filter_side or max(mask.shape), mask.shape)
        radius = max(1, round(self.radius * max(filtered)))
        level, guide = resize_mask(mask, filtered), resize_photo(photo, filtered)
        level = guided_filter(level, guide, radius=radius, epsilon=self.epsilon)
        small = _at_most(self.side, filtered)
        level = resize_mask(level, small)
        inside = level > self.middle
        if self.iterations:
            # A sure pixel is on its own side of the middle, whatever the shares ask for.
            low = np.clip(np.quantile(level, self.share), self.blurred, self.middle)
            high = np.clip(np.quantile(level, 1 - self.share), self.middle, self.focused)
            sure = (level < low) | (level > high)
            inside = segment(resize_photo(photo, small), inside, sure=sure, iterations=self.iterations)
        return np.clip(resize_mask(inside.astype(np.float32), mask.shape), 0, 1)


# Without the segmentation, in a tenth of the time: for a network that is sure enough by itself.
QUICK = Refinement(filter_side=480, radius=0.04, middle=0.5, iterations=0)


def _at_most(side: int, size: tuple[int, ...]) -> tuple[int, int]:
    """A size brought to `side` on the longer side, if that is more."""
    scale = min(1.0, side / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def chosen(refinement: Refinement | None, how: str) -> Refinement:
    """A refinement, or the default one, by the photo's "edges" alone or by its "colours" too.

    Raises:
        ValueError: another `how`.
    """
    refinement = refinement or Refinement()
    if how == "edges":
        return replace(refinement, iterations=0)
    if how == "colours":
        return replace(refinement, iterations=refinement.iterations or Refinement.iterations)
    raise ValueError(f"refine must be True, False, 'edges' or 'colours', not {how!r}")


def segment(photo: np.ndarray, inside: np.ndarray, *, sure: np.ndarray, iterations: int) -> np.ndarray:
    """Cuts a photo in two by colours and edges, from pixels whose side is known.

    Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004, as OpenCV has it: a mixture of Gaussians of the colours of
    each side, and the least cut between the two, in turn.

    Args:
        photo: `[H, W, 3]` uint8.
        inside: `[H, W]` bool, a first guess.
        sure: `[H, W]` bool, where the guess is kept.
        iterations: how often colours and cut are found, at least once.

    Returns:
        `[H, W]` bool; the guess, where hardly a pixel of one side is sure.
    """
    import cv2

    if min((sure & inside).sum(), (sure & ~inside).sum()) < COMPONENTS:
        return inside
    labels = np.where(
        inside, np.where(sure, cv2.GC_FGD, cv2.GC_PR_FGD), np.where(sure, cv2.GC_BGD, cv2.GC_PR_BGD)
    ).astype(np.uint8)
    cv2.setRNGSeed(0)  # of this thread; it begins the mixtures
    models = np.zeros((1, 65)), np.zeros((1, 65))
    rectangle = (0, 0, 1, 1)  # not looked at
    cv2.grabCut(np.ascontiguousarray(photo), labels, rectangle, *models, iterations, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def guided_filter(mask: np.ndarray, photo: np.ndarray, *, radius: int, epsilon: float) -> np.ndarray:
    """A mask as a locally linear function of the photo's colours: it follows their edges, and is smooth elsewhere.

    He, Sun and Tang, "Guided Image Filtering", PAMI 2013: Eq. 19 to 21, for a guide in colour.

    Args:
        mask: `[H, W]` float in [0, 1].
        photo: `[H, W, 3]` uint8, the guide.
        radius: of the square windows, in pixels.
        epsilon: colour variance, of colours in [0, 1], below which a window counts as flat.

    Returns:
        `[H, W]` float32 in [0, 1].
    """
    fit = linear_fit(mask, photo, radius=radius, epsilon=epsilon)
    return np.clip((fit[..., :3] * (photo / 255)).sum(-1) + fit[..., 3], 0, 1).astype(np.float32)


def linear_fit(mask: np.ndarray, photo: np.ndarray, *, radius: int, epsilon: float) -> np.ndarray:
    """A mask as a linear function of the photo's colours, fitted in every window: a guided filter's inner part.

    He, Sun and Tang, "Guided Image Filtering", PAMI 2013: Eq. 19 and 20, and the means in Eq. 21.

    Args:
        mask: `[H, W]` float in [0, 1].
        photo: `[H, W, 3]` uint8, the guide.
        radius: of the square windows, in pixels.
        epsilon: colour variance, of colours in [0, 1], below which a window counts as flat.

    Returns:
        `[H, W, 4]` float64: the mean of the functions of all windows that hold a pixel, as what a colour in [0, 1] is
        multiplied by, and what is added.
    """
    import cv2

    def mean(values: np.ndarray) -> np.ndarray:  # of a map; maps are faster one by one than side by side
        return cv2.boxFilter(values, cv2.CV_64F, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REFLECT)

    guide, level = [photo[..., i] / 255 for i in range(3)], mask.astype(np.float64)
    colour, middle = [mean(each) for each in guide], mean(level)
    covariance = [mean(each * level) - centre * middle for each, centre in zip(guide, colour)]
    spread = {(i, j): mean(guide[i] * guide[j]) - colour[i] * colour[j] for i in range(3) for j in range(i, 3)}
    for i in range(3):
        spread[i, i] += epsilon
    slope = _solve(spread, covariance)
    offset = middle - slope[0] * colour[0] - slope[1] * colour[1] - slope[2] * colour[2]
    return np.stack([mean(each) for each in (*slope, offset)], axis=-1)


def _solve(matrix: dict[tuple[int, int], np.ndarray], right: list[np.ndarray]) -> list[np.ndarray]:
    """Solves 3x3 systems, one a pixel, by Cramer's rule; `matrix` has the upper triangles of symmetric ones."""
    (a, b, c), (d, e), f = (matrix[0, 0], matrix[0, 1], matrix[0, 2]), (matrix[1, 1], matrix[1, 2]), matrix[2, 2]
    cofactors = [[d * f - e * e, c * e - b * f, b * e - c * d], [a * f - c * c, b * c - a * e], [a * d - b * b]]
    (aa, ab, ac), (bb, bc), (cc,) = cofactors
    determinant = a * aa + b * ab + c * ac
    x, y, z = (each / determinant for each in right)
    return [aa * x + ab * y + ac * z, ab * x + bb * y + bc * z, ac * x + bc * y + cc * z]

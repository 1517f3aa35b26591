"""Photos made blurred: the paper's Gaussian (FCSB), and disks whose radius varies inside an image.

Values are blurred as they are stored (sRGB), and borders are reflected with the edge pixel repeated, so that a blur
neither darkens a border nor changes the sum of an image.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import fft, ndimage

from sgdbd_jax.data.masks import smooth_field
from sgdbd_jax.errors import UserError

FCSB_SIZE = 7  # pixels
FCSB_SIGMA = 2.0  # pixels
LADDER_STEP = 0.75  # pixels between the radii that a varying blur is blended from: finer steps look the same
LEAST_COVER = 1e-3  # share of a window below which what it shows of the ground is not seen anyway


def gaussian_kernel(size: int, sigma: float) -> np.ndarray:
    """A Gaussian sampled at pixel centres.

    Args:
        size: odd width in pixels.
        sigma: standard deviation in pixels; 0 gives the identity.

    Returns:
        `[size, size]` float64, sum 1.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel has an odd size, not {size}")
    offsets = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (offsets / max(sigma, 1e-3)) ** 2)
    weights /= weights.sum()
    return np.outer(weights, weights)


def disk_kernel(radius: float) -> np.ndarray:
    """A disk of real radius: a pixel weighs as much as the area that it has in common with the disk.

    Args:
        radius: in pixels; up to 0.5 the disk lies inside one pixel and the kernel is the identity.

    Returns:
        `[size, size]` float64, sum 1, `size` odd and just large enough.
    """
    if radius < 0:
        raise ValueError(f"a disk has a radius of at least 0, not {radius}")
    reach = max(int(np.ceil(radius - 0.5)), 0)
    if reach == 0:
        return np.ones((1, 1))
    # A pixel's area inside the disk: exact along y, a sum over 16 chords along x; the transpose treats both axes alike.
    chords = (np.arange(16) + 0.5) / 16 - 0.5 + np.arange(-reach, reach + 1)[:, None]
    half_lengths = np.sqrt(np.maximum(radius**2 - chords**2, 0))[:, None]
    bottom = np.arange(-reach, reach + 1)[:, None] - 0.5
    cover = np.minimum(bottom + 1, half_lengths) - np.maximum(bottom, -half_lengths)
    area = np.maximum(cover, 0).sum(axis=-1)
    area += area.T
    return area / area.sum()


def fcsb(photo: np.ndarray, times: int) -> np.ndarray:
    """The paper's blurred version of a clear photo, FCSB(nD): a 7x7 Gaussian of sigma 2 applied n times (Table 4).

    Args:
        photo: `[H, W, 3]` uint8.
        times: how often, at least 1; rounded once, at the end.

    Returns:
        `[H, W, 3]` uint8.
    """
    if times < 1:
        raise UserError(f"FCSB blurs at least once, not {times} times")
    weights = gaussian_kernel(FCSB_SIZE, FCSB_SIGMA).sum(
        axis=0
    )  # the kernel is the product of this profile along each axis
    blurred = photo.astype(np.float64)
    for _ in range(times):
        for axis in (0, 1):
            blurred = ndimage.correlate1d(blurred, weights, axis=axis, mode="reflect")
    return _to_uint8(blurred)


def disk_blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Defocus of one depth: convolution with a disk.

    Args:
        image: `[H, W, C]` float32, any range.
        radius: of the disk, in pixels.

    Returns:
        `[H, W, C]` float32.
    """
    return next(_convolved(image, [disk_kernel(radius)]))


def varying_blur(photo: np.ndarray, radius_map: np.ndarray, kernel: Callable[[float], np.ndarray]) -> np.ndarray:
    """Defocus of a depth that varies smoothly: each pixel is blurred by a kernel of its own radius.

    A pixel is blended from two fixed blurs, of the radii next to its own on a ladder of radii `LADDER_STEP` apart.

    Args:
        photo: `[H, W, 3]` uint8.
        radius_map: `[H, W]` float, the radius at each pixel, in pixels.
        kernel: gives the kernel of a radius, as `disk_kernel` does.

    Returns:
        `[H, W, 3]` uint8.
    """
    low, high = float(radius_map.min()), float(radius_map.max())
    # A constant map has one rung, and the result is then exactly the fixed blur.
    rungs = np.linspace(low, high, 1 + int(np.ceil((high - low) / LADDER_STEP)))
    # Linear in the squared radius, as variances add and go with it: the blend has the variance of the pixel's radius.
    place = np.interp(radius_map.astype(np.float64) ** 2, rungs**2, np.arange(len(rungs))).astype(np.float32)
    total = np.zeros(photo.shape, np.float32)
    for rung, blurred in enumerate(_convolved(photo.astype(np.float32), [kernel(float(r)) for r in rungs])):
        total += np.maximum(1 - np.abs(place - rung), 0)[..., None] * blurred
    return _to_uint8(total)


def random_radius_map(rng: np.random.Generator, shape: tuple[int, int], low: float, high: float) -> np.ndarray:
    """A smooth map of blur radii, from a value in the lower half of the range to one in the upper half.

    Args:
        rng: source of all randomness.
        shape: (height, width) in pixels.
        low, high: least and greatest radius, in pixels.

    Returns:
        `[H, W]` float32 in [low, high].
    """
    middle = (low + high) / 2
    least, greatest = rng.uniform(low, middle), rng.uniform(middle, high)
    field = smooth_field(rng, shape, cycles=1.0)
    return np.clip(least + (greatest - least) * field, low, high).astype(np.float32)


def random_blur(photo: np.ndarray, rng: np.random.Generator, *, low: float, high: float) -> np.ndarray:
    """A photo out of focus everywhere: Gaussian or disk, uniform or varying, at random.

    Args:
        photo: `[H, W, 3]` uint8.
        rng: source of all randomness.
        low, high: least and greatest radius of the disk, in pixels; a Gaussian gets the sigma of the same spread,
            half the radius.

    Returns:
        `[H, W, 3]` uint8.
    """
    if not 0 <= low <= high:
        raise UserError(f"blur radii run from low to high and are not negative, found low {low}, high {high}")
    kernel = disk_kernel if rng.random() < 0.5 else _gaussian_like_disk
    shape = (photo.shape[0], photo.shape[1])
    varies = rng.random() < 0.5
    radius_map = random_radius_map(rng, shape, low, high) if varies else np.full(shape, rng.uniform(low, high))
    return varying_blur(photo, radius_map, kernel)


def random_kernel(rng: np.random.Generator, *, low: float, high: float) -> np.ndarray:
    """The kernel of one depth out of focus: Gaussian or disk, of a random radius; arguments as of `random_blur`.

    Returns:
        `[size, size]` float64, sum 1, `size` odd.
    """
    kernel = disk_kernel if rng.random() < 0.5 else _gaussian_like_disk
    return kernel(rng.uniform(low, high))


def fcsb_kernel(times: int) -> np.ndarray:
    """What `fcsb` convolves with; `[size, size]` float64, sum 1."""
    profile = gaussian_kernel(FCSB_SIZE, FCSB_SIGMA).sum(axis=0)
    weights = functools.reduce(np.convolve, [profile] * times)
    return np.outer(weights, weights)


def blur_apart(
    photo: np.ndarray, thing: np.ndarray, kernel: np.ndarray, *, thing_in_focus: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Defocus of two depths: a thing in front, and the ground behind it; one of them stays sharp.

    What is blurred keeps its own colours. The ground has none of the thing's near its outline. A blurred thing has a
    soft rim, through which the ground is seen; what was hidden of the ground is made up of what is near.

    Args:
        photo: `[H, W, 3]` uint8, all in focus.
        thing: `[H, W]` bool.
        kernel: `[size, size]` of the blur, odd.
        thing_in_focus: which of them stays.

    Returns:
        `[H, W, 3]` uint8; and `[H, W]` bool, what is in focus: the thing, or the ground where a blurred one covers less
        than half.
    """
    sharp, cover = photo.astype(np.float32), thing[..., None].astype(np.float32)
    behind = np.concatenate([(1 - cover) * sharp, 1 - cover], axis=-1)
    if thing_in_focus:
        (ground,) = _convolved(behind, [kernel])
        seen = np.where(thing[..., None], sharp, ground[..., :3] / np.maximum(ground[..., 3:], LEAST_COVER))
        return _to_uint8(seen), thing
    (light,) = _convolved(np.concatenate([behind, cover * sharp], axis=-1), [kernel])
    visible = np.clip(light[..., 3:4], 0, 1)  # of the ground
    ground = np.where(thing[..., None], light[..., :3] / np.maximum(visible, LEAST_COVER), sharp)
    return _to_uint8(light[..., 4:] + visible * ground), ~thing & (visible[..., 0] > 0.5)


def _gaussian_like_disk(radius: float) -> np.ndarray:
    """The Gaussian whose variance is a disk's, radius^2 / 4 along each axis, cut at three sigma."""
    return gaussian_kernel(2 * int(np.ceil(1.5 * radius)) + 1, radius / 2)


def _convolved(image: np.ndarray, kernels: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """`[H, W, C]` float32, borders reflected, convolved with each odd square kernel in turn."""
    height, width, _ = image.shape
    margin = max(len(kernel) // 2 for kernel in kernels)
    padded = np.pad(image.transpose(2, 0, 1), ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    # Circular convolution: what wraps around stays inside the margin, so no room is needed beyond it.
    sizes = [fft.next_fast_len(n, real=True) for n in padded.shape[1:]]
    spectrum = fft.rfft2(padded, sizes)
    for kernel in kernels:
        response = fft.rfft2(kernel.astype(np.float32), sizes)
        start = margin + len(kernel) // 2
        full = fft.irfft2(spectrum * response, sizes)
        yield full[:, start : start + height, start : start + width].transpose(1, 2, 0)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

"""What DHCF sees of a photo: patches at its edges, and three hand-crafted features of each."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from scipy import ndimage

from sgdbd_jax.compiling import jit

AT_ONCE = 256  # patches
FEATURES = 40  # numbers of one hand-crafted feature, of both scales side by side
FLAT = 1e-6  # no photo of whole levels has edges as weak as this
LARGEST = 20_000  # gradient, scaled so that OpenCV, which wants whole numbers, can square it


@dataclass(frozen=True)
class Scale:
    """Patches of one size.

    Attributes:
        side: in pixels.
        padded: what zeros enlarge a patch to before its cosine transform.
        bins: of each feature.
        first: where the features begin in a row of `FEATURES`.
    """

    side: int
    padded: int
    bins: int
    first: int


WEAK, STRONG = Scale(27, 32, 25, 0), Scale(15, 16, 13, 26)


@dataclass(frozen=True)
class Edges:
    """Thresholds of Canny's detector, low and high, as shares of a photo's largest gradient."""

    weak: tuple[float, float]
    strong: tuple[float, float]

    def of(self, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weak edges' pixels, and the strong ones', which are not weak: `[H, W]` bool, twice."""
        strong, weak = _canny(value(photo), self.strong), _canny(value(photo), self.weak)
        return weak & ~strong, strong


SEEN = Edges(weak=(0.117, 0.176), strong=(0.234, 0.351))
LEARNED = Edges(weak=(0.234, 0.351), strong=(0.468, 0.702))


class Patches(NamedTuple):
    """Patches as the network takes them.

    Attributes:
        images: `[N, 27, 27, 3]` uint8; smaller ones are bordered by their own borders.
        features: `[N, 3, 40]` uint8: transform, gradients, singular values.
    """

    images: np.ndarray
    features: np.ndarray


def value(photo: np.ndarray) -> np.ndarray:
    """The V of HSV: `[..., H, W]` float32 in [0, 1]."""
    return photo.max(-1).astype(np.float32) / np.float32(255)


def cut(photo: np.ndarray, rows: np.ndarray, columns: np.ndarray, scale: Scale) -> np.ndarray:
    """Patches around places `[N]` of a photo `[H, W, 3]` uint8, whose borders are prolonged: `[N, side, side, 3]`."""
    half = scale.side // 2
    around = np.pad(photo, ((half, half), (half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(around, (scale.side, scale.side), axis=(0, 1))
    return windows[rows, columns].transpose(0, 2, 3, 1)


def describe(cuts: np.ndarray, scale: Scale) -> Patches:
    """Patches as `cut` gives them, with their features."""
    features = np.zeros((len(cuts), 3, FEATURES), np.uint8)
    for start in range(0, len(cuts), AT_ONCE):
        grey = value(cuts[start : start + AT_ONCE])
        filled = np.pad(grey, ((0, AT_ONCE - len(grey)), (0, 0), (0, 0)))  # of one shape, compiled once
        found = np.asarray(_features(scale, filled))[: len(grey)]
        features[start : start + AT_ONCE, :, scale.first : scale.first + scale.bins + 1] = found
    border = (WEAK.side - scale.side) // 2
    return Patches(np.pad(cuts, ((0, 0), (border, border), (border, border), (0, 0)), mode="edge"), features)


@functools.partial(jit, static_argnums=0)
def _features(scale: Scale, grey: jax.Array) -> jax.Array:
    """Of patches `[N, side, side]` float32 in [0, 1]: `[N, 3, bins + 1]` uint8."""
    basis, rings = _rings(scale)
    spectrum = jnp.abs(jnp.einsum("ui,nij,vj->nuv", basis, grey, basis, precision="highest"))
    transform = spectrum.reshape(len(grey), -1) @ rings

    down = jnp.diff(grey, axis=1, append=grey[:, -1:])
    across = jnp.diff(grey, axis=2, append=grey[:, :, -1:])
    steepness = jnp.hypot(down, across) / np.sqrt(2)
    bins = jnp.clip((steepness * scale.bins).astype(jnp.int32), 0, scale.bins - 1).reshape(len(grey), -1)
    gradients = (bins[..., None] == jnp.arange(scale.bins)).sum(1).astype(jnp.float32)

    singular = jnp.linalg.svd(grey, compute_uv=False)[:, : scale.bins]

    logs = jnp.log1p(jnp.stack([transform, gradients, singular], 1))
    shares = logs / jnp.maximum(logs.sum(-1, keepdims=True), 1e-12)  # of a black patch, zeros
    return jnp.rint(255 * jnp.pad(shares, ((0, 0), (0, 0), (0, 1)), constant_values=1)).astype(jnp.uint8)


@functools.cache
def _rings(scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """The cosine transform of a patch's side `[padded, side]`, and the means over rings `[padded^2, bins]`."""
    basis = scipy.fft.dct(np.eye(scale.padded), axis=0, norm="ortho")[:, : scale.side]
    radius = np.hypot(*np.mgrid[: scale.padded, : scale.padded])
    edges = np.linspace(0, scale.padded - 1, scale.bins + 1)
    wider = 0.1 * edges[1]
    rings = np.stack([(radius >= low - wider) & (radius <= high + wider) for low, high in zip(edges, edges[1:])], -1)
    return basis.astype(np.float32), (rings / rings.sum((0, 1))).reshape(-1, scale.bins).astype(np.float32)


def _canny(grey: np.ndarray, thresholds: tuple[float, float]) -> np.ndarray:
    """Canny's edges after a Gaussian of sigma sqrt(2): `[H, W]` bool."""
    down, across = (ndimage.gaussian_filter(grey, 2**0.5, order, mode="nearest") for order in ((1, 0), (0, 1)))
    largest = np.hypot(down, across).max()
    if largest < FLAT:
        return np.zeros(grey.shape, bool)
    down, across = (np.rint(part * (LARGEST / largest)).astype(np.int16) for part in (down, across))
    low, high = (share * LARGEST for share in thresholds)
    return cv2.Canny(across, down, low, high, L2gradient=True) > 0

"""Dead-leaves scenes: synthetic photos whose focus is known pixel by pixel.

A scene is a few layers of leaves, each at its own distance: textured disks whose radii follow a power law and which
hide each other, the model that has the statistics of natural images. A thin lens then photographs the layers: sharp
where it is focused, and elsewhere blurred by a disk as wide as the circle of confusion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from sgdbd_jax.data.blur import disk_blur
from sgdbd_jax.data.masks import random_region
from sgdbd_jax.errors import UserError

Focus = Literal["all", "none", "part"]
FOCUS_KINDS: tuple[Focus, ...] = ("all", "none", "part")

OVERLAP = 6.0  # leaves on an average pixel of a layer's region
SENSOR_SIGMA = 0.5  # pixels; what any lens and sensor blur, focused or not, and what smooths the outlines of leaves
GAP_RATIO = 1.3  # greatest over least gap between neighbouring layers


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like; lengths in pixels of the image."""

    size: int = 64  # height and width
    leaf_low: float = 2.0  # least leaf radius
    leaf_high: float = 24.0  # greatest leaf radius
    layers_low: int = 2  # fewest layers
    layers_high: int = 4  # most layers
    blur_low: float = 1.5  # least circle of confusion (a radius) of what is out of focus
    blur_high: float = 6.0  # greatest one
    in_focus_below: float = 0.5  # a smaller circle of confusion counts as in focus: the disk then lies inside a pixel
    share_low: float = 0.1  # of a partly focused scene, the least share in focus
    share_high: float = 0.9  # and the greatest

    def __post_init__(self) -> None:
        """Refuses what no scene can satisfy.

        Raises:
            UserError: names the fields and what was found.
        """
        # The focused layer's nearest and farthest neighbour are both blurred within the range.
        least_high = self.blur_low * (1 + GAP_RATIO * max(self.layers_high - 2, 0))
        demands = (
            (self.size >= 8, f"size is at least 8, not {self.size}"),
            (self.leaf_low >= 0.5, f"leaf_low is at least 0.5, not {self.leaf_low}"),
            (self.leaf_low < self.leaf_high, f"leaf_high is above leaf_low {self.leaf_low}, not {self.leaf_high}"),
            (self.layers_low >= 2, f"layers_low is at least 2, not {self.layers_low}"),
            (self.layers_low <= self.layers_high, f"layers_high is at least {self.layers_low}, not {self.layers_high}"),
            (self.in_focus_below > 0, f"in_focus_below is above 0, not {self.in_focus_below}"),
            (self.in_focus_below < self.blur_low, f"blur_low is above {self.in_focus_below}, not {self.blur_low}"),
            (self.blur_low < self.blur_high, f"blur_high is above blur_low {self.blur_low}, not {self.blur_high}"),
            (
                least_high <= self.blur_high,
                f"blur_high is at least {least_high:g} for {self.layers_high} layers, not {self.blur_high}",
            ),
            (self.share_low > 0, f"share_low is above 0, not {self.share_low}"),
            # A narrow range is rarely met by chance.
            (
                self.share_low + 0.2 <= self.share_high <= 1,
                f"share_high lies between {self.share_low + 0.2:g} and 1, not at {self.share_high}",
            ),
        )
        for holds, demand in demands:
            if not holds:
                raise UserError(f"scenes: {demand}")


@dataclass(frozen=True)
class Layers:
    """A scene before the lens: flat layers, back to front, on a canvas that reaches beyond the image on every side."""

    colour: np.ndarray  # [L, C, C, 3] float32 in [0, 1], 0 where the layer is empty
    cover: np.ndarray  # [L, C, C] float32, 1 where the layer has a leaf
    nearness: np.ndarray  # [L] float64, inverse distance, growing; circles of confusion are linear in it
    noise: np.ndarray  # [S, S, 3] float32, the sensor's
    margin: int  # pixels of the canvas beyond the image

    def visible(self) -> np.ndarray:
        """`[S, S]` int: the layer that a pinhole camera sees at each pixel of the image."""
        inner = slice(self.margin, -self.margin)
        cover = self.cover[:, inner, inner]
        return len(cover) - 1 - np.argmax(cover[::-1] > 0, axis=0)


@dataclass(frozen=True)
class Lens:
    """A thin lens: a layer at nearness v has a circle of confusion of radius aperture * |v - focus|."""

    focus: float  # nearness (inverse distance) that is sharp
    aperture: float  # pixels of radius a unit of nearness; 0 is a pinhole, which has everything in focus

    def circle_of_confusion(self, nearness: np.ndarray) -> np.ndarray:
        """Radii in pixels, float64, of the shape of `nearness`."""
        return self.aperture * np.abs(nearness - self.focus)


@dataclass(frozen=True)
class Scene:
    """A photographed scene."""

    image: np.ndarray  # [S, S, 3] uint8
    mask: np.ndarray  # [S, S] uint8, 255 = in focus
    circle_of_confusion: np.ndarray  # [S, S] float32, radius in pixels for what a pinhole camera sees at the pixel


def leaf_radii(rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    """Radii of density proportional to r^-3, which makes the leaves look alike at every scale.

    Args:
        rng: source of all randomness.
        count: how many.
        low, high: least and greatest radius, 0 < low < high.

    Returns:
        `[count]` float64 in [low, high].
    """
    return (low**-2 - rng.random(count) * (low**-2 - high**-2)) ** -0.5


def build_layers(seed: int | Sequence[int], config: SceneConfig) -> Layers:
    """Lays out a scene, not yet photographed; the same seed is the same scene.

    Args:
        seed: not negative.
        config: sizes and counts.

    Returns:
        Two layers or more, the first of which covers the whole canvas, and of which at least one has a visible share
        between `config.share_low` and `config.share_high`.
    """
    rng = np.random.default_rng(seed)
    layers = _draw_layers(rng, config)
    while not _focusable(layers, config).size:
        layers = _draw_layers(rng, config)
    return layers


def choose_lens(seed: int | Sequence[int], layers: Layers, config: SceneConfig, *, focus: Focus) -> Lens:
    """Chooses where to focus and how far to open the aperture.

    Args:
        seed: not negative.
        layers: the scene.
        config: the range of blur, and of the share in focus.
        focus: `"all"` a pinhole; `"none"` focused before or behind every layer; `"part"` on one of the layers whose
            share is in the range.

    Returns:
        A lens that leaves each layer exactly in focus or with a circle of confusion between `config.blur_low` and
        `config.blur_high`.
    """
    if focus == "all":
        return Lens(focus=0.0, aperture=0.0)
    rng = np.random.default_rng(seed).spawn(1)[0]  # a stream beside the one that lays the scene out
    low, high = config.blur_low, config.blur_high
    nearness = layers.nearness
    if focus == "none":
        # The nearest layer to the focal plane is blurred by `least`, the farthest by `most`.
        least, most = np.sort(rng.uniform(low, high, 2))
        aperture = (most - least) / (nearness[-1] - nearness[0])
        before = rng.random() < 0.5
        distance = least / aperture
        return Lens(nearness[-1] + distance if before else nearness[0] - distance, aperture)
    focused = rng.choice(_focusable(layers, config))
    gaps = np.delete(np.abs(nearness - nearness[focused]), focused)
    return Lens(nearness[focused], rng.uniform(low / gaps.min(), high / gaps.max()))


def photograph(layers: Layers, lens: Lens, config: SceneConfig) -> Scene:
    """Renders a scene through a lens, back to front: each layer, with its outline, is blurred by its own disk.

    Args:
        layers: from `build_layers`.
        lens: from `choose_lens`, or one's own.
        config: `in_focus_below` sets the mask.

    Returns:
        The photo with its mask.
    """
    radii = lens.circle_of_confusion(layers.nearness)
    light = np.concatenate([layers.colour, layers.cover[..., None]], axis=-1)
    canvas = np.zeros_like(layers.colour[0])
    for layer, radius in zip(light, radii, strict=True):
        # Colour and cover are blurred together: a blurred leaf keeps its colour to its transparent rim.
        blurred = disk_blur(layer, radius) if radius > 0 else layer
        canvas = blurred[..., :3] + (1 - blurred[..., 3:]) * canvas
    canvas = ndimage.gaussian_filter(canvas, SENSOR_SIGMA, axes=(0, 1), truncate=4)
    inner = slice(layers.margin, -layers.margin)
    image = np.clip(np.rint(255 * (canvas[inner, inner] + layers.noise)), 0, 255).astype(np.uint8)
    circle_of_confusion = radii[layers.visible()].astype(np.float32)
    mask = np.where(circle_of_confusion < config.in_focus_below, 255, 0).astype(np.uint8)
    return Scene(image, mask, circle_of_confusion)


def render_scene(seed: int | Sequence[int], config: SceneConfig, focus: Focus = "all") -> Scene:
    """One scene: laid out, and photographed as asked for.

    Args:
        seed: not negative; the same seed with another `focus` is the same scene through another lens.
        config: what scenes look like.
        focus: `"all"`, `"none"` or `"part"` of the scene in focus.

    Returns:
        The photo with its mask.
    """
    if focus not in FOCUS_KINDS:
        raise UserError(f"scenes: focus is one of {', '.join(FOCUS_KINDS)}, not {focus!r}")
    layers = build_layers(seed, config)
    return photograph(layers, choose_lens(seed, layers, config, focus=focus), config)


def make_scenes(count: int, config: SceneConfig, *, seed: int, focus: Focus) -> tuple[np.ndarray, np.ndarray]:
    """A set of scenes; sets of different `focus` show different scenes, as the method wants them unpaired.

    Args:
        count: how many; scene i is the same whatever the count.
        config: what scenes look like.
        seed: not negative.
        focus: `"all"`, `"none"` or `"part"` of each scene in focus.

    Returns:
        Images `[N, S, S, 3]` uint8 and masks `[N, S, S]` uint8, 255 = in focus.
    """
    images = np.empty((count, config.size, config.size, 3), np.uint8)
    masks = np.empty((count, config.size, config.size), np.uint8)
    for i in range(count):
        scene = render_scene((seed, FOCUS_KINDS.index(focus), i), config, focus)
        images[i], masks[i] = scene.image, scene.mask
    return images, masks


def _focusable(layers: Layers, config: SceneConfig) -> np.ndarray:
    """The indices of the layers that may be the one in focus."""
    shares = np.bincount(layers.visible().ravel(), minlength=len(layers.nearness)) / config.size**2
    return np.flatnonzero((shares >= config.share_low) & (shares <= config.share_high))


def _draw_layers(rng: np.random.Generator, config: SceneConfig) -> Layers:
    # As far as a blur can reach beyond the image's border.
    margin = int(np.ceil(config.blur_high + 4 * SENSOR_SIGMA))
    side = config.size + 2 * margin
    depth = int(rng.integers(config.layers_low, config.layers_high + 1))
    nearness = np.cumsum(rng.uniform(1, GAP_RATIO, depth))
    layer, y, x, radius = _draw_leaves(rng, config, depth, side)
    owner = _paint_leaves(layer, y, x, radius, depth, side)
    colour = _paint_textures(rng, owner, y, x, radius)
    noise = rng.uniform(0, 1.5) / 255 * rng.standard_normal((config.size, config.size, 3), dtype=np.float32)
    return Layers(colour, (owner >= 0).astype(np.float32), nearness, noise, margin)


def _draw_leaves(rng: np.random.Generator, config: SceneConfig, depth: int, side: int) -> tuple[np.ndarray, ...]:
    """The leaves' layers, centres y and x, and radii, each `[N]`; a leaf hides those before it in the list."""
    low, high = config.leaf_low, config.leaf_high
    mean_area = 2 * np.pi * np.log(high / low) / (low**-2 - high**-2)
    count = int(np.ceil(OVERLAP * (side + 2 * high) ** 2 / mean_area))
    layer = np.repeat(np.arange(depth), count)
    y, x = rng.uniform(-high, side + high, (2, depth * count))
    radius = leaf_radii(rng, depth * count, low, high)
    # Nearer layers are confined to a region by their leaves' centres: its border is then made of whole leaves.
    regions = np.ones((depth, side, side), bool)
    for region in regions[1:]:
        region[:] = random_region(rng, (side, side), rng.uniform(0.15, 0.75))
    rows, columns = (np.clip(np.rint(v).astype(int), 0, side - 1) for v in (y, x))
    kept = regions[layer, rows, columns]
    layer, y, x, radius = layer[kept], y[kept], x[kept], radius[kept]
    # Behind all others a leaf larger than the canvas, so that the last layer has no holes.
    middle = (side - 1) / 2
    return (
        np.concatenate([[0], layer]),
        np.concatenate([[middle], y]),
        np.concatenate([[middle], x]),
        np.concatenate([[float(side)], radius]),
    )


def _paint_leaves(
    layer: np.ndarray, y: np.ndarray, x: np.ndarray, radius: np.ndarray, depth: int, side: int
) -> np.ndarray:
    """`[L, C, C]` int: which leaf a layer shows at each pixel, -1 where it has none."""
    # All pixels of all leaves' bounding boxes in one flat list: leaves by the hundred are too many for a Python loop.
    top, bottom = (np.clip(np.ceil(y - radius), 0, side), np.clip(np.floor(y + radius) + 1, 0, side))
    left, right = (np.clip(np.ceil(x - radius), 0, side), np.clip(np.floor(x + radius) + 1, 0, side))
    widths = np.maximum(right - left, 0).astype(int)
    areas = np.maximum(bottom - top, 0).astype(int) * widths
    leaf = np.repeat(np.arange(len(radius)), areas)
    place = np.arange(len(leaf)) - np.repeat(np.cumsum(areas) - areas, areas)
    rows, columns = np.divmod(place, widths[leaf])
    rows, columns = rows + top[leaf].astype(int), columns + left[leaf].astype(int)
    inside = (rows - y[leaf]) ** 2 + (columns - x[leaf]) ** 2 <= radius[leaf] ** 2
    owner = np.full(depth * side * side, -1)
    pixel = (layer[leaf] * side + rows) * side + columns
    np.maximum.at(owner, pixel[inside], leaf[inside])  # the last leaf wins
    return owner.reshape(depth, side, side)


def _paint_textures(
    rng: np.random.Generator, owner: np.ndarray, y: np.ndarray, x: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """`[L, C, C, 3]` float32 in [0, 1]: every leaf's colour, shading, grating and grain, 0 where no leaf is."""
    count = len(radius)
    palette = rng.uniform(0.05, 0.95, (rng.integers(3, 8), 3))
    grey = palette.mean(axis=1, keepdims=True)
    palette = grey + rng.uniform(0.1, 0.9) * (palette - grey)  # natural scenes are less colourful than random colours
    base = palette[rng.integers(len(palette), size=count)] + rng.normal(0, 0.06, (count, 3))
    # A grating changes lightness most, and colour a little.
    tint = (1 + rng.normal(0, 0.3, (count, 3))) * np.abs(rng.normal(0, 0.12, (count, 1)))
    angle, phase = rng.uniform(0, 2 * np.pi, (2, count))
    period = np.exp(rng.uniform(np.log(2.5), np.log(10), count))
    shade_angle, shade = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 0.12, count)
    grain = rng.uniform(0.03, 0.12, count)  # never 0, so that even a plain leaf shows whether it is in focus
    coarseness = rng.random(count)

    covered = np.flatnonzero(owner >= 0)
    leaf = owner.ravel()[covered]
    _, rows, columns = np.unravel_index(covered, owner.shape)

    def of_leaf(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[leaf]

    rows, columns = rows.astype(np.float32) - of_leaf(y), columns.astype(np.float32) - of_leaf(x)
    wave = 2 * np.pi / period
    grating = np.sin(of_leaf(wave * np.sin(angle)) * rows + of_leaf(wave * np.cos(angle)) * columns + of_leaf(phase))
    shading = (
        of_leaf(shade * np.sin(shade_angle) / radius) * rows + of_leaf(shade * np.cos(shade_angle) / radius) * columns
    )
    fine = rng.standard_normal(owner.shape, dtype=np.float32)
    coarse = (fine + np.roll(fine, 1, axis=1) + np.roll(fine, 1, axis=2) + np.roll(fine, (1, 1), axis=(1, 2))) / 2
    fine, coarse = fine.ravel()[covered], coarse.ravel()[covered]
    grains = of_leaf(grain) * (fine + of_leaf(coarseness) * (coarse - fine))

    colour = np.zeros((owner.size, 3), np.float32)
    colour[covered] = np.clip(of_leaf(base) + of_leaf(tint) * grating[:, None] + (shading + grains)[:, None], 0, 1)
    return colour.reshape(*owner.shape, 3)

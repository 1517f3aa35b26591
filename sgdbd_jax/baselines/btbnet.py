"""BTBNet: VGG16 without pooling in three streams, deep features added back to shallow ones, maps fused and refined.

Zhao, Zhao, Wang, Lu, "Defocus Blur Detection via Multi-Stream Bottom-Top-Bottom Fully Convolutional Network", CVPR
2018.

Grade: C, a reconstruction. Known are the backbone, an extra convolution on both sides of every addition, several
scales, and a small recurrent network at the end; guessed are the widths of the extra layers, the scales, the depth of
fusion and refinement, that they take probabilities, and the training. That is shorter than the paper's, by Adam instead
of SGD, of all parts at once, and does not begin on sharp photos of which one half is blurred.

Learned from: masks of photos. Supervised. No weights are shipped.
"""

import functools
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from sgdbd_jax.backend import start_jax
from sgdbd_jax.baselines.maps import checked
from sgdbd_jax.compiling import jit
from sgdbd_jax.config import IMAGENET, InputNorm
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import from_dict, to_dict
from sgdbd_jax.models.layers import Conv, normalise, scaled, to_unit
from sgdbd_jax.models.vgg16 import BLOCKS
from sgdbd_jax.porting.vgg16 import load_vgg16
from sgdbd_jax.training.checkpoint import Checkpoints
from sgdbd_jax.training.run import Reporter, Stopped
from sgdbd_jax.training.state import FitState, NetState
from sgdbd_jax.training.step import make_fit_step
from sgdbd_jax.weights import check_finite, load_weights, merge, reading_metadata

TOPS = (64, 128, 256, 512)  # features where deep and shallow are added, after blocks 1 to 4
ROUNDS = 3  # of the refinement

REACH = sum(map(len, BLOCKS)) + 1 + len(TOPS)  # pixels, at its scale, that a stream sees around one
TILE = 256  # pixels a side that a stream works on at a time, 0.8 GB

CROP, STEPS = 320, 20_000  # of the training, a photo a step
BACKBONE_RATE, RATE = 1e-5, 1e-4  # Adam's
KEPT = 500  # steps from one checkpoint to the next


class Block(nn.Module):
    """The convolutions of VGG16 from one pool to the next, and no pool."""

    layers: tuple[tuple[str, int], ...]
    width: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `[B, H, W, features]`."""
        for name, features in self.layers:
            x = nn.relu(Conv(scaled(features, self.width), name=name)(x))
        return x


class Stream(nn.Module):
    """From a photo to its map, at full resolution throughout."""

    width: float
    input: InputNorm

    @nn.compact
    def __call__(self, photo: jax.Array) -> jax.Array:
        """`[B, H, W, 3]` float32 RGB in [0, 1] to `[B, H, W, 1]` logits; a block's inside is computed twice."""

        def conv(x: jax.Array, features: int, name: str) -> jax.Array:
            return nn.relu(Conv(scaled(features, self.width), name=name)(x))

        x, found = normalise(photo, self.input), []
        for number, layers in enumerate(BLOCKS, start=1):
            x = nn.remat(Block)(layers, self.width, name=f"block{number}")(x)
            found.append(x)
        top = conv(x, 512, "top5")
        for step in range(len(TOPS), 0, -1):
            features = TOPS[step - 1]
            top = conv(top, features, f"top{step}") + conv(found[step - 1], features, f"side{step}")
        return Conv(1, 1, name="map")(top)


class Fusion(nn.Module):
    """From the streams' maps to one, and that refined in rounds, with the same layers in each."""

    width: float
    input: InputNorm

    @nn.compact
    def __call__(self, photo: jax.Array, maps: jax.Array) -> jax.Array:
        """The fused map and the refined ones.

        Args:
            photo: `[B, H, W, 3]` float32 RGB in [0, 1].
            maps: `[B, H, W, streams]` logits.

        Returns:
            `[B, H, W, 1 + ROUNDS]` logits.
        """
        features = scaled(64, self.width)
        x = jax.nn.sigmoid(maps)
        for name in ("fuse1", "fuse2"):
            x = nn.relu(Conv(features, name=name)(x))
        found = [Conv(1, 1, name="fuse3")(x)]
        layers = [Conv(features, name=f"refine{number}") for number in (1, 2, 3)]
        last, seen = Conv(1, 1, name="refine4"), normalise(photo, self.input)
        for _ in range(ROUNDS):
            x = jnp.concatenate([seen, jax.nn.sigmoid(found[-1])], axis=-1)
            for layer in layers:
                x = nn.relu(layer(x))
            found.append(last(x))
        return jnp.concatenate(found, axis=-1)


class BTBNet(nn.Module):
    """The whole network.

    Attributes:
        width: of all layers; 1 is the published backbone's.
        scales: of the photo, one a stream.
        input: what the streams do with the photo first.
    """

    width: float = 1.0
    scales: tuple[float, ...] = (1.0, 0.8, 0.6)
    input: InputNorm = InputNorm(*IMAGENET)

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool = False) -> jax.Array:
        """All maps, to learn from; the last one is the answer.

        Args:
            photo: `[B, H, W, 3]` float32 RGB in [0, 1], of any size.
            train: makes no difference.

        Returns:
            `[B, H, W, streams + 1 + ROUNDS]` float32 logits, positive where in focus: of each stream, fused, refined.
        """
        maps = []
        for number, scale in enumerate(self.scales, start=1):
            seen = _resized(photo, _seen_size(photo.shape[1:3], scale))
            logits = Stream(self.width, self.input, name=f"stream{number}")(seen)
            maps.append(_resized(logits, photo.shape[1:3]))
        streams = jnp.concatenate(maps, axis=-1)
        fused = Fusion(self.width, self.input, name="fusion")(photo, streams)
        return jnp.concatenate([streams, fused], axis=-1)


@dataclass(frozen=True)
class Learned:
    """A trained network: what it is, and its variables, `{"params": ...}`."""

    network: BTBNet
    variables: Mapping[str, Any]


def detect(photo: Any, learned: Learned | None = None) -> np.ndarray:
    """How probably each pixel is in focus; minutes for 480x640 pixels on a CPU.

    Args:
        photo: `[H, W, 3]` uint8, or as `Detector` takes one.
        learned: as `read` gives it.

    Returns:
        `[H, W]` float32 probability of focus; zeros for a photo of one colour.

    Raises:
        ValueError, TypeError, UserError: no photo; or nothing was given that is `learned`.
    """
    start_jax()
    photo = checked(photo)
    learned = read() if learned is None else learned
    if (photo == photo[0, 0]).all():
        return np.zeros(photo.shape[:2], np.float32)
    network, params = learned.network, learned.variables["params"]
    whole = np.asarray(to_unit(photo[None]))
    maps = []
    for number, scale in enumerate(network.scales, start=1):
        seen = np.asarray(_resized(whole, _seen_size(photo.shape[:2], scale)))
        logits = _by_tiles(functools.partial(_stream, network, params[f"stream{number}"]), seen)
        maps.append(np.asarray(_resized(logits, photo.shape[:2])))
    return np.asarray(_answer(network, params["fusion"], whole, np.concatenate(maps, axis=-1)))


def read(path: str | os.PathLike | None = None) -> Learned:
    """What was learned, from a weight file.

    Raises:
        UserError: no file is named, for none is shipped; or it is not there, not whole, another detector's or of other
            shapes, or holds numbers that are not finite.
    """
    if path is None:
        raise UserError(
            "BTBNet: no weights of it are shipped; train it on photos with masks, on a GPU, by"
            " python -m experiments.compare --train btbnet, and give the file that it writes"
        )
    tree, metadata = load_weights(path, kind="btbnet")
    with reading_metadata(path):
        scales = tuple(map(float, metadata["scales"]))
        network = BTBNet(float(metadata["width"]), scales, from_dict(InputNorm, metadata["input"]))
        expected = _shapes(network)
    variables = merge(expected, tree, where=str(path))
    check_finite(variables, where=str(path))
    return Learned(network, variables)


def train(
    photos: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    seed: int,
    *,
    network: BTBNet = BTBNet(),  # noqa: B008, for it is frozen
    vgg16: str | os.PathLike | None = None,
    steps: int = STEPS,
    folder: Path | None = None,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trains the network on crops of 320x320 pixels, flipped and turned, one a step.

    Args:
        photos: `[H, W, 3]` uint8; one that is smaller than a crop goes on as its border is.
        masks: `[H, W]` uint8 each, 255 = in focus.
        seed: of all that is drawn.
        network: what is trained.
        vgg16: a file of `python -m experiments.port_vgg16`, where all streams begin, with the input that it asks for;
            `None` begins at random.
        steps: how many.
        folder: keeps what a training that was stopped goes on from, with the same photos, seed, network and start;
            `None` keeps nothing.
        reporter: told of progress.
        should_stop: asked after each step; a yes saves, and raises `Stopped`.

    Returns:
        The tree and the metadata of a weight file: `save_weights(path, *train(photos, masks, 0))`.

    Raises:
        UserError: there are no photos; `vgg16` is no such file, or not of this width; or `folder` cannot be used.
        Stopped: as `should_stop` wanted.
    """
    start_jax()
    reporter = reporter or Reporter()
    if not len(photos):
        raise UserError("BTBNet learns from photos with masks, and was given none")
    network, state = begin(network, seed, vgg16)
    step = _step(network)
    checkpoints = None
    if folder is not None:
        start = np.asarray(state.net.params["stream1"]["block1"]["conv1_1"]["kernel"])  # VGG16's, or the seed's
        arrays = [start, *(image for images in (photos, masks) for image in images)]
        identity = repr((seed, _described(network), [zlib.crc32(each.tobytes()) for each in arrays]))
        checkpoints = Checkpoints(folder / f"btbnet-{zlib.crc32(identity.encode()):08x}", keep=1)
        if (done := checkpoints.latest()) is not None:
            state = checkpoints.restore(done, state)

    first = int(state.step)
    reporter.stage("BTBNet", first, steps)
    try:
        for number in range(first, steps):
            rng = np.random.default_rng([seed, number])
            place = int(rng.integers(len(photos)))
            state, metrics = step(state, None, example(photos[place], masks[place], rng))
            told = number % 10 == 9
            reporter.step({name: float(value) for name, value in metrics.items()} if told else None)
            stop = should_stop()
            if checkpoints and (stop or (number + 1) % KEPT == 0 or number + 1 == steps):
                checkpoints.save(number + 1, state)
            if stop:
                raise Stopped
    finally:
        if checkpoints:
            checkpoints.close()
    variables = {"params": jax.device_get(state.net.params)}
    check_finite(variables, where=f"BTBNet after {steps} steps")
    return variables, {"kind": "btbnet", "seed": seed, "steps": steps, **_described(network)}


def begin(network: BTBNet, seed: int, vgg16: str | os.PathLike | None = None) -> tuple[BTBNet, FitState]:
    """Where a training begins: kernels of N(0, 2 / fan-in), or VGG16's.

    Args:
        network: what is trained.
        seed: of the random kernels.
        vgg16: as `train` takes it.

    Returns:
        The network, with the input that the file asks for, and its first state.

    Raises:
        UserError: as `train`.
    """
    rng = np.random.default_rng(seed)

    def fill(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        kernel = leaf.ndim > 1  # or a bias, which is 0
        deviation = np.sqrt(2 / np.prod(leaf.shape[:-1])) if kernel else 0
        return rng.normal(0, deviation, leaf.shape).astype(np.float32)

    params = jax.tree.map(fill, _shapes(network)["params"])
    if vgg16 is not None:
        trunk, mean, std = load_vgg16(vgg16)
        network = network.clone(input=InputNorm(mean, std))
        for number in range(1, len(network.scales) + 1):
            stream = params[f"stream{number}"]
            for at, layers in enumerate(BLOCKS, start=1):
                given = {name: trunk[name] for name, _ in layers}
                stream[f"block{at}"] = merge(stream[f"block{at}"], given, where=f"{vgg16}, which needs width 1")
    params = jax.tree.map(jnp.asarray, params)
    return network, FitState(jnp.zeros((), jnp.int32), NetState(params, {}, optimiser().init(params)))


def optimiser() -> optax.GradientTransformation:
    """Adam, with a tenth of the rate in the backbones."""
    rules = {"backbone": optax.adam(BACKBONE_RATE), "rest": optax.adam(RATE)}

    def parts(params: Any) -> Any:
        return {
            part: {
                name: jax.tree.map(lambda _, name=name: "backbone" if name.startswith("block") else "rest", layer)
                for name, layer in layers.items()
            }
            for part, layers in params.items()
        }

    return optax.multi_transform(rules, parts)


def loss(logits: jax.Array, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Cross-entropy, a mean over pixels, summed over the maps.

    Args:
        logits: `[B, H, W, maps]`.
        batch: `mask`, `[B, H, W, 1]` uint8, 255 = in focus.

    Returns:
        `[]`, and that of the last map alone as a metric.
    """
    truth = jnp.broadcast_to(to_unit(batch["mask"]), logits.shape)
    entropies = optax.sigmoid_binary_cross_entropy(logits, truth).mean((0, 1, 2))
    return entropies.sum(), {"last_map": entropies[-1]}


def example(photo: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A crop at random, turned by quarters and perhaps mirrored.

    Args:
        photo: `[H, W, 3]` uint8.
        mask: `[H, W]` uint8.
        rng: source of all randomness.

    Returns:
        `photo`, `[1, CROP, CROP, 3]`, and `mask`, `[1, CROP, CROP, 1]`; uint8.
    """
    both = np.dstack([photo, mask])
    short = [max(CROP - length, 0) for length in mask.shape]
    both = np.pad(both, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
    top, left = (rng.integers(length - CROP + 1) for length in both.shape[:2])
    crop = np.rot90(both[top : top + CROP, left : left + CROP], int(rng.integers(4)))
    crop = np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)[None]
    return {"photo": crop[..., :3], "mask": crop[..., 3:]}


def _by_tiles(run: Callable[[np.ndarray], Any], photo: np.ndarray) -> np.ndarray:
    """What `run` makes of a whole photo, from what it makes of overlapping tiles.

    Args:
        run: from `[1, h, w, 3]` to `[1, h, w, 1]`; a pixel goes by those up to `REACH` away.
        photo: `[1, H, W, 3]`.

    Returns:
        `[1, H, W, 1]` float32.
    """
    found = np.empty((*photo.shape[:3], 1), np.float32)
    for rows, down, up in _tiles(photo.shape[1]):
        for columns, right, left in _tiles(photo.shape[2]):
            found[:, down, right] = np.asarray(run(photo[:, rows, columns]))[:, up, left]
    return found


def _tiles(length: int) -> Iterator[tuple[slice, slice, slice]]:
    """Along a side: where a tile lies, what it decides, and where that lies in the tile."""
    size = min(TILE, length)
    for begun in range(0, max(length - 2 * REACH, 1), max(size - 2 * REACH, 1)):
        start = min(begun, length - size)
        first = start + REACH if start else 0
        last = length if start + size == length else start + size - REACH
        yield slice(start, start + size), slice(first, last), slice(first - start, last - start)
        if last == length:
            return


def _seen_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    height, width = (max(round(length * scale), 1) for length in size)
    return height, width


def _resized(x: jax.Array | np.ndarray, size: Sequence[int]) -> jax.Array:
    """Bilinearly, smoothed where it becomes smaller: `[B, H, W, C]`."""
    return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "bilinear")


@functools.partial(jit, static_argnums=0)
def _stream(network: BTBNet, params: Any, photo: jax.Array) -> jax.Array:
    return jnp.asarray(Stream(network.width, network.input).apply({"params": params}, photo))


@functools.partial(jit, static_argnums=0)
def _answer(network: BTBNet, params: Any, photo: jax.Array, maps: jax.Array) -> jax.Array:
    """`[H, W]` probability of focus."""
    logits = jnp.asarray(Fusion(network.width, network.input).apply({"params": params}, photo, maps))
    return jax.nn.sigmoid(logits[0, ..., -1])


@functools.cache
def _step(network: BTBNet) -> Callable:
    return jit(make_fit_step(network, optimiser(), loss), donate_argnums=0)


@functools.cache
def _shapes(network: BTBNet) -> Any:
    """Of its variables, without their numbers."""
    photo = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    return jax.eval_shape(lambda photo: network.init(jax.random.key(0), photo), photo)


def _described(network: BTBNet) -> dict[str, Any]:
    """What a weight file tells of a network."""
    return {"width": network.width, "scales": network.scales, "input": to_dict(network.input)}

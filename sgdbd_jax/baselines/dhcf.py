"""DHCF, or DHDE: a small network, helped by hand-crafted features, tells how blurred edges are; flat parts follow them.

Park, Tai, Cho, Kweon, "A Unified Approach of Multi-scale Deep and Hand-crafted Features for Defocus Estimation", CVPR
2017.

Grades: A (read from the authors' program) for features, network, and what is done with a photo; C (reconstructed) for
the smoothing window before the spread, the details of the edge detector, and its training: by Adam, in a fortieth of
the steps, from a few hundred photos instead of ImageNet's.

Learned from: clear photos and made blur of known strength; no masks. Not unsupervised in the strict sense: the levels
of blur are labels.
"""

import functools
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from sgdbd_jax.backend import start_jax
from sgdbd_jax.baselines import matting
from sgdbd_jax.baselines.dhcf_patches import AT_ONCE, FEATURES, LEARNED, SEEN, STRONG, WEAK, Patches, cut, describe
from sgdbd_jax.baselines.joint_filters import joint_bilateral, rolling_guidance, weighted_median
from sgdbd_jax.baselines.learned import read_learned
from sgdbd_jax.baselines.maps import checked, minmax
from sgdbd_jax.compiling import jit
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.checkpoint import Checkpoints
from sgdbd_jax.training.run import Reporter, Stopped

SIGMAS = np.round(np.arange(0.5, 2.01, 0.15), 2)  # levels of blur that the network tells apart: 0.50, 0.65, ..., 2.00

# Of the training.
BATCH, RATE, STEPS = 128, 1e-3, 20_000  # Adam's rate falls along a cosine
EACH = 23  # weak edges, and as many strong ones, of a photo; with all blurs, just under 256 patches
HELD_OUT = 10  # every tenth photo
KEPT = 1000  # steps from one checkpoint to the next


class Network(nn.Module):
    """From a patch and its features to logits of `SIGMAS`, all at least 0 (the authors' last layer has a ReLU)."""

    @nn.compact
    def __call__(self, images: jax.Array, features: jax.Array, *, dropout: bool = False) -> jax.Array:
        """Applies it.

        Args:
            images: `[N, 27, 27, 3]` uint8.
            features: `[N, 3, 40]` uint8.
            dropout: whether half of the hidden values are left out, by the random key `dropout`.

        Returns:
            `[N, 11]` float32.
        """
        x = images / 255
        for name, width, side in (("conv1", 25, 3), ("conv2", 50, 3), ("conv3", 50, 3), ("conv4", 25, 1)):
            x = nn.relu(
                nn.Conv(
                    width,
                    (side, side),
                    padding="VALID",
                    kernel_init=nn.initializers.xavier_uniform(),
                    bias_init=nn.initializers.constant(0.1),
                    name=name,
                )(x)
            )
            if name in ("conv1", "conv2"):
                x = _pool(x)
        x = jnp.concatenate([features.reshape(len(features), -1) / 255, x.reshape(len(x), -1)], -1)
        for name, width, bias in (("fc1", 300, 0), ("fc2", 150, 0.1), ("fc3", len(SIGMAS), 0.1)):
            dense = nn.Dense(
                width,
                kernel_init=nn.initializers.normal(0.01),
                bias_init=nn.initializers.constant(bias),
                name=name,
            )
            x = nn.relu(dense(x))
            if name != "fc3":
                x = nn.Dropout(0.5, deterministic=not dropout)(x)
        return x


def _pool(x: jax.Array) -> jax.Array:
    """Maxima of 3x3 blocks, and of what is left of them at the end, as Caffe has it: `[N, H, W, C]`.

    By reshaping, for the gradient of `nn.max_pool` takes three times as long as all else on a CPU.
    """
    count, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % 3), (0, -width % 3), (0, 0)), constant_values=-jnp.inf)
    return x.reshape(count, -(-height // 3), 3, -(-width // 3), 3, channels).max((2, 4))


def detect(photo: Any, learned: Mapping[str, Any] | None = None) -> np.ndarray:
    """The photo's sharpness, spread from its edges.

    Args:
        photo: `[H, W, 3]` uint8, or as `Detector` takes one.
        learned: as `read` and `train` give it; what is shipped by default.

    Returns:
        `[H, W]` float32 in [0, 1], 1 = in focus; zeros without edges.

    Raises:
        ValueError, TypeError, UserError: no photo; or nothing is shipped.
    """
    start_jax()
    photo = checked(photo)
    height, width = photo.shape[:2]
    photo = np.pad(photo, ((0, max(3 - height, 0)), (0, max(3 - width, 0)), (0, 0)), mode="edge")  # for the matting
    blur, confidence = blur_at_edges(photo, learned)
    known = blur > 0
    if not known.any():
        return np.zeros((height, width), np.float32)
    smooth = rolling_guidance(photo / np.float32(255), spatial=1.5, range_=1.5, rounds=3)
    trust = known * np.exp(-((1 - confidence) ** 2) / 2)
    blur = joint_bilateral(blur, smooth, radius=13, spatial=100, range_=100, trust=trust)
    blur = matting.solve(matting.laplacian(smooth, 9e-5), known, blur, 0.005)
    sharpness = np.clip((SIGMAS[-1] - blur) / (SIGMAS[-1] - SIGMAS[0]), 0, 1)
    return minmax(weighted_median(sharpness, smooth, radius=5, range_=0.25, rounds=3)[:height, :width])


def blur_at_edges(photo: np.ndarray, learned: Mapping[str, Any] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """How blurred the edges are.

    Args:
        photo: `[H, W, 3]` uint8.
        learned: as `read` and `train` give it; what is shipped by default.

    Returns:
        The blur's sigma in pixels, one of `SIGMAS`, and its probability; both `[H, W]` float32, and 0 off the edges.
    """
    learned = _shipped() if learned is None else learned
    blur, confidence = np.zeros((2, *photo.shape[:2]), np.float32)
    for edges, scale in zip(SEEN.of(photo), (WEAK, STRONG)):
        places = np.argwhere(edges)
        for start in range(0, len(places), AT_ONCE):
            rows, columns = places[start : start + AT_ONCE].T
            probabilities = _predict(learned, describe(cut(photo, rows, columns, scale), scale))
            blur[rows, columns] = SIGMAS[probabilities.argmax(1)]
            confidence[rows, columns] = probabilities.max(1)
    return blur, confidence


def read(path: str | os.PathLike | None = None) -> dict[str, Any]:
    """What was learned, from a weight file; `None` for the shipped one.

    Returns:
        The variables of `Network`: 126,436 float32 parameters.

    Raises:
        UserError: as `read_learned`.
    """
    return read_learned(path, "dhcf", jax.eval_shape(_initial, np.uint32(0)))


def train(
    photos: Sequence[np.ndarray],
    seed: int,
    *,
    steps: int = STEPS,
    folder: Path | None = None,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trains the network on patches of clear photos that were blurred by known amounts.

    Every tenth photo is held out, and tells how often the network is right.

    Args:
        photos: `[H, W, 3]` uint8, sharp.
        seed: of all that is drawn.
        steps: of 128 patches.
        folder: keeps what a training that was stopped goes on from, with the same photos, seed and steps; `None`
            keeps nothing.
        reporter: told of progress.
        should_stop: asked after each step; a yes saves, and raises `Stopped`.

    Returns:
        The tree and the metadata of a weight file: `save_weights(path, *train(photos, 0))`.

    Raises:
        UserError: there are no photos to hold out, or no edges; or `folder` cannot be written or read.
        Stopped: as `should_stop` wanted.
    """
    start_jax()
    reporter = reporter or Reporter()
    learning = [photo for place, photo in enumerate(photos) if place % HELD_OUT != HELD_OUT - 1]
    held_out = photos[HELD_OUT - 1 :: HELD_OUT]
    reporter.stage("DHCF's patches", 0, len(photos))
    examples, labels = _examples(learning, seed, reporter)
    unseen, truth = _examples(held_out, seed, reporter)
    if not len(labels) or not len(truth):
        raise UserError(
            f"DHCF learns from photos with edges, {HELD_OUT} at the least, every tenth of them to be held out; these"
            f" {len(photos)} have {len(labels)} edges to learn from and {len(truth)} to be held out"
        )
    variables = _fit(examples, labels, seed, steps, folder, reporter, should_stop)
    batches = (slice(start, start + AT_ONCE) for start in range(0, len(truth), AT_ONCE))
    found = np.concatenate([_predict(variables, Patches(*(part[at] for part in unseen))).argmax(1) for at in batches])
    metadata = {
        "kind": "dhcf",
        "seed": seed,
        "steps": steps,
        "patches": len(labels),
        "held_out_patches": len(truth),
        "held_out_accuracy": round(float((found == truth).mean()), 4),
        "held_out_within_one_level": round(float((np.abs(found - truth) <= 1).mean()), 4),
    }
    return jax.device_get(variables), metadata


def _examples(photos: Sequence[np.ndarray], seed: int, reporter: Reporter) -> tuple[Patches, np.ndarray]:
    """Patches at the edges of sharp photos, after each of the blurs, and which of `SIGMAS` it was."""
    none = Patches(np.zeros((0, WEAK.side, WEAK.side, 3), np.uint8), np.zeros((0, 3, FEATURES), np.uint8))
    found, labels = [none], [np.zeros(0, np.int32)]
    for photo in photos:
        rng = np.random.default_rng([seed, zlib.crc32(photo.tobytes())])
        weak, strong = (np.argwhere(edges) for edges in LEARNED.of(photo))
        count = min(EACH, len(weak), len(strong))
        blurred = [cv2.GaussianBlur(photo, (27, 27), sigma, borderType=cv2.BORDER_REPLICATE) for sigma in SIGMAS]
        for places, scale in ((weak, WEAK), (strong, STRONG)):
            rows, columns = rng.permutation(places)[:count].T
            found.append(describe(np.concatenate([cut(each, rows, columns, scale) for each in blurred]), scale))
            labels.append(np.repeat(np.arange(len(SIGMAS), dtype=np.int32), count))
        reporter.step(None)
    return Patches(*(np.concatenate(parts) for parts in zip(*found))), np.concatenate(labels)


def _fit(
    examples: Patches,
    labels: np.ndarray,
    seed: int,
    steps: int,
    folder: Path | None,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> Any:
    """The network's variables after so many steps."""
    variables = _initial(np.uint32(seed))
    state = {"step": np.zeros((), np.int32), "variables": variables, "optimiser": _optimiser(steps).init(variables)}
    checkpoints = None
    if folder is not None:  # the name tells a training from others
        identity = zlib.crc32(repr((seed, steps, SIGMAS, zlib.crc32(examples.images.data), len(labels))).encode())
        checkpoints = Checkpoints(folder / f"dhcf-{identity:08x}", keep=1)
        if (step := checkpoints.latest()) is not None:
            state = checkpoints.restore(step, state)

    begin = int(state["step"])
    reporter.stage("DHCF's network", begin, steps)
    try:
        for step in range(begin, steps):
            chosen = np.random.default_rng([seed, step]).integers(len(labels), size=BATCH)
            batch = Patches(*(part[chosen] for part in examples))
            state, value, accuracy = _update(steps, np.uint32(seed), state, batch, labels[chosen])
            told = step % 100 == 99
            reporter.step({"loss": float(value), "accuracy": float(accuracy)} if told else None)
            stop = should_stop()
            if checkpoints and (stop or (step + 1) % KEPT == 0 or step + 1 == steps):
                checkpoints.save(step + 1, state)
            if stop:
                raise Stopped
    finally:
        if checkpoints:
            checkpoints.close()
    return state["variables"]


def _optimiser(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(RATE, steps))


@functools.partial(jit, static_argnums=0)
def _update(
    steps: int, seed: jax.Array, state: dict[str, Any], batch: Patches, labels: jax.Array
) -> tuple[dict[str, Any], jax.Array, jax.Array]:
    """The state after a step, and the batch's loss and accuracy before it."""
    key = jax.random.fold_in(jax.random.key(seed), state["step"])

    def loss(variables: Any) -> tuple[jax.Array, jax.Array]:
        logits = jnp.asarray(Network().apply(variables, *batch, dropout=True, rngs={"dropout": key}))
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return entropy.mean(), (logits.argmax(-1) == labels).mean()

    (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(state["variables"])
    gradient["params"]["fc1"]["bias"] *= 0  # it is fixed
    updates, optimiser = _optimiser(steps).update(gradient, state["optimiser"])
    variables = optax.apply_updates(state["variables"], updates)
    return {"step": state["step"] + 1, "variables": variables, "optimiser": optimiser}, value, accuracy


@jit
def _initial(seed: jax.Array) -> Any:
    images, features = jnp.zeros((1, WEAK.side, WEAK.side, 3), jnp.uint8), jnp.zeros((1, 3, FEATURES), jnp.uint8)
    return Network().init(jax.random.key(seed), images, features)


@jit
def _probabilities(variables: Any, images: jax.Array, features: jax.Array) -> jax.Array:
    return jax.nn.softmax(jnp.asarray(Network().apply(variables, images, features)))


def _predict(variables: Any, batch: Patches) -> np.ndarray:
    """Probabilities `[N, 11]` of `SIGMAS` for at most 256 patches."""
    fill = AT_ONCE - len(batch.images)  # one shape, compiled once
    filled = (np.pad(part, [(0, fill)] + [(0, 0)] * (part.ndim - 1)) for part in batch)
    return np.asarray(_probabilities(variables, *filled))[: len(batch.images)]


@functools.cache
def _shipped() -> dict[str, Any]:
    return read()

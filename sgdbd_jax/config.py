"""Every choice of a run, as frozen dataclasses; their values are in `presets.py`.

This file imports no array library, so that a command line can be parsed, and refused, before anything heavy loads.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from sgdbd_jax.errors import UserError

RGB_TO_UNIT = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # [0, 1] -> [-1, 1]: the release's input
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's


@dataclass(frozen=True)
class InputNorm:
    """What a network does first with RGB in [0, 1]: `(x - mean) / std`, a channel at a time."""

    mean: tuple[float, float, float] = RGB_TO_UNIT[0]
    std: tuple[float, float, float] = RGB_TO_UNIT[1]


@dataclass(frozen=True)
class GeneratorConfig:
    """G: photo to in-focus mask. The defaults are the paper's.

    A decoder block is a tuple of `(features, kernel_size)` convolutions; before each block the map is doubled. A skip
    names the trunk layer that joins there ("" for none): concatenated before the block, or added after it.
    The paper does not print how many convolutions a block has: two, which mirror the trunk.
    """

    width: float = 1.0  # scales every channel count; below 1 only for small experiments
    trunk_norm: bool = False  # BatchNorm after each trunk convolution
    decoder_norm: bool = False  # BatchNorm after each decoder convolution
    skip_norm: bool = False  # BatchNorm on each skip: ImageNet features are large, and differ from layer to layer
    merge: str = "add"  # "add" after the block | "concat" before it
    align_corners: bool = False  # of the bilinear doubling
    blocks: tuple[tuple[tuple[int, int], ...], ...] = (
        ((512, 3), (512, 3)),
        ((256, 3), (256, 3)),
        ((128, 3), (128, 3)),
        ((64, 3), (64, 3)),
    )
    skips: tuple[str, ...] = ("conv4_3", "conv3_3", "conv2_2", "conv1_2")
    init_std: float = 0.0  # normal initialisation of random kernels; 0: He's, by fan-in
    input: InputNorm = InputNorm()


@dataclass(frozen=True)
class DiscriminatorConfig:
    """D_c and D_b: photo or composite to one logit. The defaults are the paper's 9 convolutions.

    The paper prints neither channels nor strides: these are SRGAN's eight and one more.
    """

    width: float = 1.0
    channels: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 512, 512, 512)
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 2, 1)
    pool: bool = False  # strides of 2 are 2x2 max pools after the convolution, as VGG16's
    norm: str = "batch"  # "batch": BatchNorm, not after the first | "layer": over each photo, after all
    trunk: str = "random"  # "vgg16": the convolutions, one by one, start where the run's `vgg16` says
    hidden: int = 1024  # of the layer between the pooled features and the logit
    input: InputNorm = InputNorm()


@dataclass(frozen=True)
class ClassifierConfig:
    """V: blurred (0), mixed (1) or clear (2); its features carry L_B. The defaults are the paper's."""

    width: float = 1.0
    norm: bool = False  # BatchNorm after each trunk convolution and hidden layer
    head: str = "pool"  # "pool": V is the average of conv5_3 | "flatten": V is a layer of `features` on the 5th pool
    features: int = 512  # of V when flattened
    hidden: int = 128
    input_size: int = 256  # side in pixels that "flatten" is built for; "pool" takes any
    input: InputNorm = InputNorm()


@dataclass(frozen=True)
class OptimiserConfig:
    """One optimiser; the three of a game are separate copies of it."""

    name: str = "adam"  # "adam" | "sgd"
    learning_rate: float = 2e-4
    momentum: float = 0.9  # beta1 of Adam, momentum of SGD
    trunk: float = 1.0  # factor of the learning rate in the trunk, which has learned before


@dataclass(frozen=True)
class Config:
    """A whole run: data, networks, classifier pretraining, the game, and its book-keeping."""

    # Data
    data: str = "folders"  # "scenes" (made here) | "folders" (the next three fields) | "tfds:cuhk" | "tfds:dut"
    source: str = ""  # folder of partly blurred photos
    clear: str = ""  # folder of all-in-focus photos, or "tfds:fcfb:clear"
    blurred: str = "disc"  # folder of all-blurred photos, or "tfds:fcfb:blurred"; or made from the clear ones:
    # "fcsb:1" to "fcsb:5" (7x7 Gaussian of sigma 2, applied 1 to n times; Table 4), "disc" (varying inside a photo)
    blur: tuple[float, float] = (1.0, 6.0)  # radii in pixels of blurred photos made by "disc"
    masks: str = ""  # folder of the source photos' masks; read only when supervised
    masks_white: str = ""  # what white means in masks: "focused" | "blurred"
    names: str = ""  # file with the source photos' names, one a line or a CSV; or "cuhk:train"; "" takes the folder
    data_dir: str = ""  # where tfds keeps prepared sets; "" is its own default
    manual_dir: str = ""  # where the files of a tfds set lie as downloaded; needed the first time
    scenes: int = 0  # how many scenes a set has, for data "scenes"
    photo_size: int = 320  # photos are squashed to this many pixels a side, as in the paper; 0 keeps their own size
    crop: int = 320  # side of a training crop in pixels, a multiple of 16
    flip: bool = True  # mirror half of the crops
    scale: tuple[float, float] = (1.0, 1.0)  # range of the random zoom of a crop
    degrade: bool = False  # soften, add noise, compress at random, alike in all sets; see data/degrade.py
    # Networks
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    vgg16: str = "weights/vgg16.safetensors"  # where every trunk starts, or "random"
    generator_weights: str = ""  # a generator's file that training starts from, instead of `vgg16`; its own trunk
    # Classifier pretraining
    classifier_weights: str = ""  # a finished classifier's file; "" pretrains one
    classifier_steps: int = 2000
    classifier_batch: int = 16
    classifier_optimiser: OptimiserConfig = OptimiserConfig(learning_rate=1e-4)
    # Labels that cost nothing, before the game (not in the paper)
    warm_steps: int = 0  # steps of cross-entropy on pastes, whose mask is known
    warm_batch: int = 8
    warm_optimiser: OptimiserConfig = OptimiserConfig(learning_rate=5e-4, trunk=0.2)  # falls to 0 along a cosine
    disc_warm_steps: int = 0  # steps of D_c and D_b, with the game's batch and optimiser, on pastes of known kinds
    # The game
    average: float = 0.0  # decay of the generator's moving average, which is what predicts; 0: there is none
    steps: int = 20000
    batch: int = 4
    seed: int = 0
    discriminators: str = "both"  # "both" | "clear" | "blur" (Table 1)
    supervised: bool = False  # cross-entropy on masks, and none of the other stages (Table 3's Ours(S))
    adversarial_form: str = "saturating"  # Eq. 3 as printed | "non_saturating", the release's
    eta: float = 0.01  # weight of L_G (Eq. 6, Table 2)
    bilateral_weight: float = 1.0  # weight of L_B; 0 leaves it out (Tables 1, 2)
    coverage_weight: float = 0.0  # weight of relu(minimum - mean of a mask)
    coverage_minimum: float = 0.1  # share of a mask
    binarisation_weight: float = 0.0  # weight of mean(min(M, 1 - M))
    paste_weight: float = 0.0  # weight of cross-entropy on pastes, as in the warm start (not in the paper)
    disc_weight: float = 1.0  # factor of each discriminator's loss; the release halves it
    second_draw: bool = False  # D and L_B see a second, independent draw of real photos, as in the release
    paste_real: bool = False  # D's real photos are pasted by the same mask too, so that a seam tells nothing
    generator_optimiser: OptimiserConfig = OptimiserConfig()
    disc_optimiser: OptimiserConfig = OptimiserConfig()
    # After the game (not in the paper)
    taught_steps: int = 0  # on its own masks of the source photos, refined; warm_batch and warm_optimiser hold too
    # Prediction: how the delivered weights ask to be used, and how validation uses them
    refine: bool = False  # masks follow the photo's edges and decide, as self-training's always do; see refine.py
    half: bool = False  # the generator is delivered as float16
    # Validation: for choosing only, never for training
    validation_images: str = ""
    validation_masks: str = ""
    validation_white: str = ""  # "focused" | "blurred"
    validation_names: str = ""  # as `names`: "cuhk:validation"
    validate_every: int = 1000  # steps
    # Book-keeping
    checkpoint_every: int = 500  # steps
    checkpoint_minutes: float = 10.0  # and at least this often
    keep: int = 2  # newest checkpoints kept, besides the best on validation
    log_every: int = 10  # steps
    grid_every: int = 500  # steps between sample grids
    tensorboard: bool = False  # event files beside metrics.jsonl; needs the extra `tensorboard`

    def __post_init__(self) -> None:
        check(self)


# Fields that may change between two legs of one run: they do not move its results, or (steps) only take them further.
FREE_FIELDS = frozenset(
    (
        "steps",
        "validate_every",
        "checkpoint_every",
        "checkpoint_minutes",
        "keep",
        "log_every",
        "grid_every",
        "tensorboard",
        "names",  # a file may move; the photos must stay
        "generator_weights",  # where a file lies; what it holds must stay
        "classifier_weights",
    )
)

_CHOICES: dict[str, tuple[str, ...]] = {
    "discriminators": ("both", "clear", "blur"),
    "adversarial_form": ("saturating", "non_saturating"),
    "masks_white": ("", "focused", "blurred"),
    "validation_white": ("", "focused", "blurred"),
    "generator.merge": ("add", "concat"),
    "discriminator.norm": ("batch", "layer"),
    "discriminator.trunk": ("random", "vgg16"),
    "classifier.head": ("pool", "flatten"),
    "generator_optimiser.name": ("adam", "sgd"),
    "disc_optimiser.name": ("adam", "sgd"),
    "classifier_optimiser.name": ("adam", "sgd"),
    "warm_optimiser.name": ("adam", "sgd"),
}

_AT_LEAST_1 = (
    "batch",
    "classifier_batch",
    "warm_batch",
    "checkpoint_every",
    "log_every",
    "grid_every",
    "validate_every",
    "keep",
    "classifier.features",
    "classifier.hidden",
    "discriminator.hidden",
)
_NOT_NEGATIVE = (
    "steps",
    "warm_steps",
    "disc_warm_steps",
    "taught_steps",
    "classifier_steps",
    "photo_size",
    "seed",
    "scenes",
)
_POSITIVE = (
    "generator.width",
    "discriminator.width",
    "classifier.width",
    "generator_optimiser.learning_rate",
    "disc_optimiser.learning_rate",
    "classifier_optimiser.learning_rate",
    "warm_optimiser.learning_rate",
    "generator_optimiser.trunk",
    "disc_optimiser.trunk",
    "classifier_optimiser.trunk",
    "warm_optimiser.trunk",
)
_SHARES = (
    "coverage_minimum",
    "average",
    "generator_optimiser.momentum",
    "disc_optimiser.momentum",
    "classifier_optimiser.momentum",
    "warm_optimiser.momentum",
)
_WEIGHTS = (
    "generator.init_std",
    "eta",
    "bilateral_weight",
    "coverage_weight",
    "binarisation_weight",
    "paste_weight",
    "disc_weight",
    "checkpoint_minutes",
)


def check(config: Config) -> None:
    """Refuses a config that cannot be run.

    Raises:
        UserError: naming the field, its value, and what it may be.
    """
    values = flatten(config)
    for name, choices in _CHOICES.items():
        if values[name] not in choices:
            raise UserError(f"{name}: {values[name]!r} is none of {', '.join(repr(choice) for choice in choices)}")
    for name in _AT_LEAST_1:
        if values[name] < 1:
            raise UserError(f"{name}: {values[name]} must be at least 1")
    for name in _NOT_NEGATIVE:
        if values[name] < 0:
            raise UserError(f"{name}: {values[name]} must not be negative")
    teaches = config.taught_steps and config.generator_weights
    if not config.steps and (config.supervised or not (config.warm_steps or teaches)):
        raise UserError(
            "steps: 0 leaves nothing to train; add steps, or (unless supervised) warm_steps,"
            " or taught_steps for generator_weights"
        )
    for name in _POSITIVE:
        if not 0 < values[name] < math.inf:
            raise UserError(f"{name}: {values[name]} must be finite and positive")
    if config.seed >= 2**32:
        raise UserError(f"seed: {config.seed} must be below 2**32")
    for name in _SHARES:
        if not 0 <= values[name] < 1:
            raise UserError(f"{name}: {values[name]} must be at least 0 and below 1")
    for name in (name for name in values if name.endswith(".input.std")):
        if not all(0 < std < math.inf for std in values[name]):
            raise UserError(f"{name}: {values[name]} must be finite and positive")
    for name in _WEIGHTS:
        if not 0 <= values[name] < math.inf:
            raise UserError(f"{name}: {values[name]} must be finite and not negative")
    if config.crop < 16 or config.crop % 16:
        raise UserError(f"crop: {config.crop} must be a positive multiple of 16, the generator's finest step")
    if config.photo_size and config.crop > config.photo_size:
        raise UserError(
            f"crop: {config.crop} is larger than the photos ({config.photo_size}); lower crop or raise photo_size"
        )
    if config.classifier.head == "flatten" and config.classifier.input_size != config.crop:
        raise UserError(
            f"classifier.input_size: {config.classifier.input_size} must equal crop ({config.crop}) with head 'flatten'"
        )
    for name in ("scale", "blur"):
        if not _is_range(values[name]):
            raise UserError(f"{name}: {values[name]} must be two positive numbers, the smaller first")
    if config.paste_real and not config.second_draw:
        raise UserError("paste_real: pasting two real photos needs two draws of them; add second_draw")
    if len(config.generator.blocks) != 4 or len(config.generator.skips) != 4:
        raise UserError("generator: the decoder needs 4 blocks and 4 skips ('' for no skip)")
    for index, (block, skip) in enumerate(zip(config.generator.blocks, config.generator.skips), start=1):
        _check_block(index, block, skip, adds=config.generator.merge == "add")
    if len(config.discriminator.channels) != len(config.discriminator.strides):
        raise UserError("discriminator: channels and strides must be equally many")
    if min(config.discriminator.channels + config.discriminator.strides, default=0) < 1:
        raise UserError("discriminator: needs layers, and channels and strides of at least 1")
    if config.discriminator.pool and max(config.discriminator.strides) > 2:
        raise UserError(f"discriminator.strides: {config.discriminator.strides} must be 1 or 2 where they are pools")
    if config.discriminator.pool and 2 ** config.discriminator.strides.count(2) > config.crop:
        raise UserError(
            f"discriminator.strides: {config.discriminator.strides} pool a crop of {config.crop} to nothing"
        )
    if config.disc_optimiser.trunk != 1:
        raise UserError("disc_optimiser.trunk: discriminators have no trunk apart; lower disc_optimiser.learning_rate")
    if config.blurred.startswith("fcsb:") and config.blurred[5:] not in tuple("12345"):
        raise UserError(f"blurred: {config.blurred!r} must be 'fcsb:1' to 'fcsb:5', 'disc', or a place of photos")


def _check_block(index: int, block: tuple[tuple[int, ...], ...], skip: str, *, adds: bool) -> None:
    """One block of the generator's decoder, from 1, and the trunk layer that joins it."""
    if not block or any(len(conv) != 2 or conv[0] < 1 or conv[1] < 1 or conv[1] % 2 == 0 for conv in block):
        raise UserError(f"generator.blocks: {block} is not made of (features, odd kernel size)")
    known = [f"conv{5 - index}_{layer}" for layer in ((1, 2, 3) if index < 3 else (1, 2))]
    if skip and skip not in known:  # others are of another size there
        raise UserError(f"generator.skips: {skip!r} cannot join block {index}; {', '.join(known)} can")
    features = 1024 >> index  # of those layers
    if skip and adds and block[-1][0] != features:
        raise UserError(
            f"generator.blocks: block {index} ends with {block[-1][0]} features, and {skip!r} has {features}:"
            " make them equal, or set generator.merge concat"
        )


def _is_range(value: tuple[Any, ...]) -> bool:
    return len(value) == 2 and all(isinstance(end, (int, float)) for end in value) and 0 < value[0] <= value[1]


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """All fields by their dotted names: `{"generator.width": 1.0, ...}`."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, f"{prefix}{item.name}."))
        else:
            flat[prefix + item.name] = value
    return flat


def replace(config: Any, changes: dict[str, Any]) -> Any:
    """A copy of a config with fields changed by their dotted names.

    Raises:
        UserError: no such field, or a value that the config refuses.
    """
    here: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    names = {item.name for item in dataclasses.fields(config)}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if head not in names or (rest and not dataclasses.is_dataclass(getattr(config, head))):
            raise UserError(f"{name}: no such config field")
        if rest:
            below.setdefault(head, {})[rest] = value
        else:
            here[head] = _tuples(value)
    for head, inner in below.items():
        here[head] = replace(getattr(config, head), inner)
    return dataclasses.replace(config, **here)


def to_dict(config: Any) -> dict[str, Any]:
    """A config as nested dicts and tuples, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind: type, values: dict[str, Any]) -> Any:
    """Inverse of `to_dict`, also after a trip through JSON.

    Raises:
        UserError: a field that this version does not know.
    """
    return replace(kind(), _flat(values))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value

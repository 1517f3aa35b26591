"""Every choice of a run, its meaning and its default, which is the paper's; `presets.py` changes them.

No array library is imported here, so that a command line can be parsed, and refused, before anything heavy loads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import (
    ALL_FINITE,
    ALL_POSITIVE,
    AT_LEAST_1,
    INSIDE,
    NOT_NEGATIVE,
    POSITIVE,
    RANGE,
    SHARE,
    UP_TO_1,
    WEIGHT,
    Bound,
    Section,
    one_of,
    option,
)

MADE = "made"  # of scenes, a set `blur` that is made of the clear ones
RGB_TO_UNIT = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # [0, 1] -> [-1, 1]: the release's input
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's
# Sides of photos that a generator takes are multiples of this: four halvings; blocks of 2x2 pixels, and four more.
MULTIPLES = {"vgg16": 16, "lite": 32}
# VGG16's convolutions; `models.vgg16` has them with their features.
TRUNK_LAYERS = tuple(
    f"conv{block}_{number}" for block, count in enumerate((2, 2, 3, 3, 3), start=1) for number in range(1, count + 1)
)


@dataclass(frozen=True)
class InputNorm(Section):
    """What a network does first with RGB in [0, 1]: `(x - mean) / std`, a channel at a time."""

    mean: tuple[float, float, float] = option(RGB_TO_UNIT[0], "subtracted from RGB in [0, 1]", ALL_FINITE)
    std: tuple[float, float, float] = option(RGB_TO_UNIT[1], "what is left is divided by this", ALL_POSITIVE)


@dataclass(frozen=True)
class GeneratorConfig(Section):
    """G: photo to in-focus mask. The defaults are the paper's.

    The paper does not print how many convolutions a decoder block has: two, which mirror the trunk.
    """

    network: str = option(
        "vgg16",
        "'vgg16': the paper's | 'lite': a twelfth of its multiplications; of the others it has width, trunk_norm,"
        " decoder_norm and input",
        one_of(*MULTIPLES),
    )
    width: float = option(1.0, "scales every channel count; below 1 only for small experiments", POSITIVE)
    trunk_norm: bool = option(False, "BatchNorm after each trunk convolution")
    decoder_norm: bool = option(False, "BatchNorm after each decoder convolution")
    skip_norm: bool = option(False, "BatchNorm on each skip: ImageNet features differ in size from layer to layer")
    merge: str = option(
        "add", "a skip is joined by 'add' after its block, or 'concat' before it", one_of("add", "concat")
    )
    align_corners: bool = option(False, "of the bilinear doubling before each block")
    blocks: tuple[tuple[tuple[int, int], ...], ...] = option(
        (((512, 3), (512, 3)), ((256, 3), (256, 3)), ((128, 3), (128, 3)), ((64, 3), (64, 3))),
        "the decoder's four blocks, each of (features, kernel size) convolutions",
    )
    skips: tuple[str, ...] = option(
        ("conv4_3", "conv3_3", "conv2_2", "conv1_2"), "the trunk layer that joins at each block; '' for none"
    )
    init_std: float = option(0.0, "deviation of normal random kernels; 0: He's, by fan-in", WEIGHT)
    input: InputNorm = InputNorm()

    def check(self) -> None:
        if len(self.blocks) != 4 or len(self.skips) != 4:
            raise UserError("blocks, skips: the decoder needs 4 of each ('' for no skip)")
        for index, (block, skip) in enumerate(zip(self.blocks, self.skips), start=1):
            self._check_block(index, block, skip)

    def _check_block(self, index: int, block: tuple[tuple[int, ...], ...], skip: str) -> None:
        """One block, from 1, and the trunk layer that joins it."""
        if not block or any(len(conv) != 2 or conv[0] < 1 or conv[1] < 1 or conv[1] % 2 == 0 for conv in block):
            raise UserError(f"blocks: {block} is not made of (features, odd kernel size)")
        known = [f"conv{5 - index}_{layer}" for layer in ((1, 2, 3) if index < 3 else (1, 2))]
        if skip and skip not in known:  # others are of another size there
            raise UserError(f"skips: {skip!r} cannot join block {index}; {', '.join(known)} can")
        features = 1024 >> index  # of those layers
        if skip and self.merge == "add" and block[-1][0] != features:
            raise UserError(
                f"blocks: block {index} ends with {block[-1][0]} features, and {skip!r} has {features}:"
                " make them equal, or set generator.merge concat"
            )


@dataclass(frozen=True)
class DiscriminatorConfig(Section):
    """D_c and D_b: photo or composite to one logit. The defaults are the paper's 9 convolutions.

    The paper prints neither channels nor strides: these are SRGAN's eight and one more.
    """

    width: float = option(1.0, "scales every channel count", POSITIVE)
    channels: tuple[int, ...] = option((64, 64, 128, 128, 256, 256, 512, 512, 512), "of each 3x3 convolution")
    strides: tuple[int, ...] = option((1, 2, 1, 2, 1, 2, 1, 2, 1), "of each convolution")
    pool: bool = option(False, "strides of 2 are 2x2 max pools after the convolution, as VGG16's")
    norm: str = option(
        "batch",
        "'batch': BatchNorm, not after the first | 'layer': over each photo, after all | 'none'",
        one_of("batch", "layer", "none"),
    )
    init: str = option(
        "random", "'vgg16': convolutions start as those of the run's VGG16, one by one", one_of("random", "vgg16")
    )
    hidden: int = option(1024, "features of the layer between the pooled features and the logit", AT_LEAST_1)
    in_blocks: bool = option(
        False, "the first convolution takes 2x2 blocks of pixels and of their high-pass, as the light generator's stem"
    )
    patches: tuple[int, ...] = option(
        (0,),
        "convolutions, from 1, whose every place is judged too, beside the photo, as by PatchGAN (Isola et al. 2017;"
        " with norm 'layer' a place knows how strong the photo's other responses are); 0: none",
    )
    input: InputNorm = InputNorm()

    def check(self) -> None:
        known = range(1, len(self.channels) + 1)
        if self.patches != (0,) and (not set(self.patches) <= {*known} or len({*self.patches}) < len(self.patches)):
            raise UserError(f"patches: {self.patches} must be 0, or different numbers from 1 to {len(self.channels)}")
        if self.in_blocks and self.init == "vgg16":
            raise UserError("in_blocks: VGG16's first convolution takes pixels; leave in_blocks out, or init random")
        if len(self.channels) != len(self.strides):
            raise UserError(f"strides: {len(self.strides)} of them, and {len(self.channels)} channels; make them equal")
        if min(self.channels + self.strides, default=0) < 1:
            raise UserError("channels, strides: there must be some, each at least 1")
        if self.pool and max(self.strides) > 2:
            raise UserError(f"strides: {self.strides} must be 1 or 2 where they are pools")


@dataclass(frozen=True)
class ClassifierConfig(Section):
    """V: blurred (0), mixed (1) or clear (2); its features carry L_B. The defaults are the paper's."""

    width: float = option(1.0, "scales every channel count", POSITIVE)
    norm: bool = option(False, "BatchNorm after each trunk convolution and hidden layer")
    head: str = option(
        "pool",
        "V is 'pool': the average of conv5_3 | 'flatten': a layer on the 5th pool, as the release's",
        one_of("pool", "flatten"),
    )
    layers: tuple[str, ...] = option(
        ("conv5_3",), "with head 'pool', the trunk's layers whose averages are V; several are brought to length 1 each"
    )
    features: int = option(512, "of V when flattened", AT_LEAST_1)
    hidden: int = option(128, "features of the layer after V", AT_LEAST_1)
    input_size: int = option(256, "side in pixels that 'flatten' is built for; 'pool' takes any", AT_LEAST_1)
    input: InputNorm = InputNorm()

    def check(self) -> None:
        unknown = [layer for layer in self.layers if layer not in TRUNK_LAYERS]
        if unknown:
            raise UserError(f"layers: {unknown[0]!r} is none of {', '.join(TRUNK_LAYERS)}")
        if len({*self.layers}) < max(1, len(self.layers)):
            raise UserError(f"layers: {self.layers} must be one or several different layers")
        if self.head == "flatten" and self.layers != ClassifierConfig.layers:
            raise UserError(f"layers: {self.layers} are for head 'pool'; leave layers out, or set head pool")


@dataclass(frozen=True)
class OptimiserConfig(Section):
    """One optimiser; the three of a game are separate copies of it."""

    name: str = option(
        "adam",
        "'adam' | 'sgd' | 'muon': kernels move along orthogonal matrices, all else by Adam at half the rate",
        one_of("adam", "sgd", "muon"),
    )
    learning_rate: float = option(2e-4, "step size", POSITIVE)
    momentum: float = option(0.9, "beta1 of Adam, momentum of SGD", SHARE)
    warm_up: int = option(
        0, "steps in which the rate rises, before it falls along a cosine; of warm_optimiser alone", NOT_NEGATIVE
    )
    trunk_factor: float = option(1.0, "of the learning rate in the trunk, which has learned before", POSITIVE)


def _check_constant(name: str, optimiser: OptimiserConfig) -> None:
    """Refuses a warm-up of an optimiser whose rate stays as it is."""
    if optimiser.warm_up:
        raise UserError(f"{name}.warm_up: its rate stays as it is; leave warm_up out, only warm_optimiser has one")


@dataclass(frozen=True)
class SetsConfig(Section):
    """The sets of photos, and how they are read."""

    data: str = option("folders", "'folders': those below | 'scenes': made here | 'tfds:cuhk' | 'tfds:dut'")
    source: str = option("", "folder of partly blurred photos")
    clear: str = option("", "folder of photos all in focus, or 'tfds:fcfb:clear'")
    blur: str = option(
        "",
        "folder of photos all out of focus, or 'tfds:fcfb:blurred'; '' makes them of the clear ones; of scenes, '' are"
        " scenes out of focus, and 'made' makes them of the clear ones",
    )
    masks: str = option("", "folder of the source photos' masks; read only when supervised")
    masks_white: str = option("", "what white means there: 'focused' | 'blurred'", one_of("", "focused", "blurred"))
    names: str = option("", "file with the source photos' names, or 'cuhk:train'; '' takes the whole folder")
    data_dir: str = option("", "where tfds keeps prepared sets; '' is its own default")
    manual_dir: str = option("", "where the files of a tfds set lie as downloaded; needed the first time")
    scenes: int = option(0, "how many scenes a set has, for data 'scenes'", NOT_NEGATIVE)
    photo_size: int = option(
        320, "photos are squashed to this many pixels a side, as in the paper; 0 keeps their own size", NOT_NEGATIVE
    )
    degrade: bool = option(False, "soften, add noise, compress at random, alike in all sets")
    noise: float = option(
        6.0,
        "greatest deviation of that noise, in grey levels: 25 is a photo at night",
        Bound("must be finite and at least 1, the least", lambda value: 1 <= value < math.inf),
    )
    grey: float = option(0.0, "share of the training examples whose photos lose their colours", UP_TO_1)

    def check(self) -> None:
        if self.noise != SetsConfig.noise and not self.degrade:
            raise UserError("noise: is that of degraded photos; add degrade, or leave it out")


@dataclass(frozen=True)
class BlurringConfig(Section):
    """How photos all out of focus are made of clear ones, where no set of them is given."""

    blur_kernel: str = option(
        "disk",
        "'disk': disks and Gaussians that vary inside a photo | 'fcsb:1' to 'fcsb:5': a 7x7 Gaussian of sigma 2, 1 to n"
        " times (Table 4)",
        one_of("disk", *(f"fcsb:{times}" for times in range(1, 6))),
    )
    blur_radii: tuple[float, float] = option((1.0, 6.0), "least and greatest radius in pixels, for 'disk'", RANGE)


@dataclass(frozen=True)
class CropConfig(Section):
    """How a photo is cut for training."""

    crop: int = option(
        320,
        "side of a training crop in pixels; smaller photos are left out",
        Bound(
            "must be a positive multiple of 16, the generator's finest step",
            lambda value: value >= 16 and value % 16 == 0,
        ),
    )
    flip: bool = option(True, "mirror half of the crops")
    scale: tuple[float, float] = option((1.0, 1.0), "range of a crop's random zoom", RANGE)
    whole: float = option(0.0, "share of the crops that are whole photos, squashed to their size", UP_TO_1)


@dataclass(frozen=True)
class StartConfig(Section):
    """Where networks start."""

    vgg16: str = option("weights/vgg16.safetensors", "VGG16's weights, where every trunk starts; or 'random'")
    generator_weights: str = option(
        "", "a generator's file, or the name of one that is shipped, to start from, its trunk included"
    )
    classifier_weights: str = option("", "a finished classifier's file; '' pretrains one")


@dataclass(frozen=True)
class PretrainingConfig(Section):
    """The classifier, before the game."""

    classifier_steps: int = option(2000, "steps of cross-entropy on blurred, mixed and clear photos", NOT_NEGATIVE)
    classifier_batch: int = option(16, "examples a step", AT_LEAST_1)
    classifier_optimiser: OptimiserConfig = OptimiserConfig(learning_rate=1e-4)

    def check(self) -> None:
        _check_constant("classifier_optimiser", self.classifier_optimiser)


@dataclass(frozen=True)
class PastesConfig(Section):
    """Labels that cost nothing: pastes of clear and blurred photos, whose mask is known (not in the paper)."""

    warm_steps: int = option(0, "steps of G by cross-entropy on pastes, before the game", NOT_NEGATIVE)
    warm_batch: int = option(8, "examples a step, here and in self-training", AT_LEAST_1)
    warm_optimiser: OptimiserConfig = OptimiserConfig(learning_rate=5e-4, trunk_factor=0.2)
    shapes: float = option(
        0.0, "share of the pastes with outlines of things in the clear photo, which is on both sides", UP_TO_1
    )
    uniform: float = option(
        0.0, "share of the pastes that are a clear photo, or a blurred one, and nothing else", UP_TO_1
    )
    disc_warm_steps: int = option(
        0, "steps of the discriminators on pastes of known kinds, with the game's batch and optimiser", NOT_NEGATIVE
    )

    def check(self) -> None:
        if self.shapes + self.uniform > 1:
            raise UserError(f"shapes, uniform: {self.shapes} and {self.uniform} are more than all pastes")


@dataclass(frozen=True)
class GameConfig(Section):
    """The game of G, D_c and D_b: the paper's Eq. 3 to 6, and what the release adds."""

    steps: int = option(20000, "rounds of the game; of supervised training, its steps", NOT_NEGATIVE)
    batch: int = option(4, "examples a step", AT_LEAST_1)
    discriminators: str = option("both", "'both' | 'clear' | 'blur' (Table 1)", one_of("both", "clear", "blur"))
    adversarial_form: str = option(
        "saturating", "Eq. 3 as printed | 'non_saturating', the release's", one_of("saturating", "non_saturating")
    )
    eta: float = option(0.01, "weight of L_G (Eq. 6, Table 2)", WEIGHT)
    bilateral_weight: float = option(1.0, "weight of L_B; 0 leaves it out (Tables 1, 2)", WEIGHT)
    coverage_weight: float = option(0.0, "weight of relu(minimum - mean of a mask)", WEIGHT)
    coverage_minimum: float = option(0.1, "share of a photo", SHARE)
    binarisation_weight: float = option(0.0, "weight of mean(min(M, 1 - M))", WEIGHT)
    binarisation_ramp: int = option(
        0, "rounds in which that weight rises to its full; 0: it begins there", NOT_NEGATIVE
    )
    temperature: float = option(
        1.0, "G's logits are divided by it in the game, where below 1 masks decide; not after it", POSITIVE
    )
    hard: bool = option(
        False,
        "composites are of the mask's decisions, 0 or 1, whose gradient is taken as the mask's (Bengio et al. 2013)",
    )
    smoothing: float = option(
        0.0, "composites are of the mask under a Gaussian of this many pixels, which can carry no fine pattern", WEIGHT
    )
    r1_weight: float = option(
        0.0, "half of it is the weight of D's squared slope at real photos, in the game (Mescheder et al. 2018)", WEIGHT
    )
    paste_weight: float = option(0.0, "weight of cross-entropy on pastes beside the game (not in the paper)", WEIGHT)
    disc_weight: float = option(1.0, "factor of each discriminator's loss; the release halves it", WEIGHT)
    second_draw: bool = option(False, "D and L_B see a second, independent draw of real photos, as in the release")
    paste_real: bool = option(False, "real photos are pasted by the same mask too, so that a seam tells nothing")
    generator_optimiser: OptimiserConfig = OptimiserConfig()
    disc_optimiser: OptimiserConfig = OptimiserConfig()

    def check(self) -> None:
        _check_constant("generator_optimiser", self.generator_optimiser)
        _check_constant("disc_optimiser", self.disc_optimiser)
        if self.binarisation_ramp and not self.binarisation_weight:
            raise UserError("binarisation_ramp: is that of binarisation_weight, which is 0; give both, or none")
        if self.paste_real and not self.second_draw:
            raise UserError("paste_real: pasting two real photos needs two draws of them; add second_draw")
        if self.disc_optimiser.trunk_factor != 1:
            raise UserError(
                "disc_optimiser.trunk_factor: discriminators have no trunk apart; lower disc_optimiser.learning_rate"
            )

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that have a discriminator."""
        return ("clear", "blur") if self.discriminators == "both" else (self.discriminators,)


def _are_views(value: str) -> bool:
    try:
        sizes = [float(each) for each in value.split(",")] if value else []
    except ValueError:
        return False
    return all(0 < size <= 1 or (size.is_integer() and 16 <= size <= 4096) for size in sizes)


@dataclass(frozen=True)
class SelfTrainingConfig(Section):
    """The generator learns from refined masks of the source photos (not in the paper).

    Batch and optimiser are those of pastes.
    """

    teacher: str = option(
        "",
        "a generator's file, or the name of one that is shipped, whose masks are learned first; of several, by commas,"
        " which are then in no file's name, the mean of their masks, refined as the first one's file asks",
    )
    teacher_steps: int = option(0, "steps on the teacher's masks, after the warm start", NOT_NEGATIVE)
    taught_steps: int = option(0, "steps on its own masks, at the end", NOT_NEGATIVE)
    views: str = option(
        "",
        "'': a photo is looked at once | its sizes, by commas, at each of which it is looked at twice, the second time"
        " mirrored: parts of its own ('1,0.7,0.5'), sides of a square ('320'); the mean of the masks is refined",
        Bound("must be parts, above 0 and at most 1, and sides, from 16 to 4096, by commas", _are_views),
    )
    agreement: float = option(
        0.0,
        "a pixel of a mask weighs 1 less this many standard deviations over the views: 2 leaves nothing where half of"
        " them say no",
        WEIGHT,
    )
    leave_out: float = option(
        0.0, "share of the photos on which the views agree least, from which nothing is learned", SHARE
    )
    refinement: str = option(
        "own",
        "masks are refined 'own': as the teacher's file asks, its own by colours | by 'edges' alone | by 'colours' too",
        one_of("own", "edges", "colours"),
    )

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names or files of the teachers."""
        return tuple(filter(None, (name.strip() for name in self.teacher.split(","))))

    @property
    def sizes(self) -> tuple[float, ...]:
        """What `views` lists: parts of a photo's size up to 1, sides of a square above."""
        return tuple(map(float, filter(None, self.views.split(","))))

    def check(self) -> None:
        if (self.agreement or self.leave_out) and not self.views and (len(self.teachers) < 2 or self.taught_steps):
            raise UserError("views: agreement and leave_out compare views; add some, as 1,0.7,0.5,320")
        asked = [name for name in ("views", "refinement") if getattr(self, name) != getattr(SelfTrainingConfig, name)]
        if asked and not (self.teacher_steps or self.taught_steps):
            raise UserError(f"{asked[0]}: is of self-training; add teacher_steps or taught_steps, or leave it out")
        for name, several in (("teacher", self.teachers), ("views", self.sizes)):
            if len({*several}) < len(several):
                raise UserError(f"{name}: {getattr(self, name)!r} names one twice")
        if self.teacher and not self.teachers:
            raise UserError(f"teacher: {self.teacher!r} names none; give a file, or several by commas")
        if bool(self.teacher) != bool(self.teacher_steps):
            raise UserError("teacher: needs teacher_steps, and teacher_steps need it; give both, or none")


@dataclass(frozen=True)
class PredictionConfig(Section):
    """How the delivered weights ask to be used, and how validation uses them."""

    refine: bool = option(False, "masks follow the photo's edges and decide, as self-training's always do")
    colours: bool = option(True, "refined masks are cut by the photo's colours too, which takes longer")
    middle: float = option(0.5, "level of the learned mask that is delivered as a half", INSIDE)
    gain: float = option(1.0, "of the logits from there: above 1 where a network doubts more than it errs", POSITIVE)
    reduced: bool = option(False, "photos may be decoded at a part of their size, no smaller than they are seen")
    half: bool = option(False, "the generator is delivered as float16")


@dataclass(frozen=True)
class ValidationConfig(Section):
    """Photos with masks, for choosing only, never for training."""

    validation_images: str = option("", "folder of photos")
    validation_masks: str = option("", "folder of their masks")
    validation_white: str = option("", "what white means there", one_of("", "focused", "blurred"))
    validation_names: str = option("", "as names: 'cuhk:validation'")
    validate_every: int = option(1000, "steps", AT_LEAST_1)


@dataclass(frozen=True)
class KeepingConfig(Section):
    """Checkpoints, logs and sample grids."""

    checkpoint_every: int = option(500, "steps", AT_LEAST_1)
    checkpoint_minutes: float = option(10.0, "and at least this often", WEIGHT)
    keep: int = option(2, "newest checkpoints kept, besides the best on validation", AT_LEAST_1)
    log_every: int = option(10, "steps", AT_LEAST_1)
    grid_every: int = option(500, "steps between sample grids", AT_LEAST_1)
    tensorboard: bool = option(False, "event files beside metrics.jsonl; needs the extra `tensorboard`")


@dataclass(frozen=True)
class Config(Section):
    """A whole run."""

    seed: int = option(
        0, "of all random numbers", Bound("must be from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)
    )
    supervised: bool = option(False, "cross-entropy on masks, and none of the other stages (Table 3's Ours(S))")
    ema_decay: float = option(0.0, "of the generator's moving average, which is what predicts; 0: there is none", SHARE)
    sets: SetsConfig = SetsConfig()
    blurring: BlurringConfig = BlurringConfig()
    crops: CropConfig = CropConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    start: StartConfig = StartConfig()
    pretraining: PretrainingConfig = PretrainingConfig()
    pastes: PastesConfig = PastesConfig()
    game: GameConfig = GameConfig()
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    prediction: PredictionConfig = PredictionConfig()
    validation: ValidationConfig = ValidationConfig()
    keeping: KeepingConfig = KeepingConfig()

    def check(self) -> None:
        crop, photo_size = self.crops.crop, self.sets.photo_size
        taught = self.self_training
        learns = self.pastes.warm_steps or taught.teacher or (taught.taught_steps and self.start.generator_weights)
        if not self.game.steps and (self.supervised or not learns):
            raise UserError(
                "game.steps: 0 leaves nothing to train; add steps, or (unless supervised) warm_steps, teacher_steps,"
                " or taught_steps for generator_weights"
            )
        stages = {
            "pastes.warm_steps": self.pastes.warm_steps,
            "self_training.teacher_steps": taught.teacher_steps,
            "self_training.taught_steps": taught.taught_steps,
        }
        warm_up = self.pastes.warm_optimiser.warm_up
        for name, steps in stages.items():
            if warm_up >= steps > 0 and not self.supervised:
                raise UserError(f"pastes.warm_optimiser.warm_up: {warm_up} leaves none of {name} ({steps}); lower it")
        pastes = self.pastes
        if (pastes.shapes or pastes.uniform) and not (learns or taught.taught_steps or self.game.paste_weight):
            raise UserError("pastes.shapes, pastes.uniform: nothing learns from pastes; add warm_steps or paste_weight")
        made = ("", MADE) if self.sets.data == "scenes" else ("",)
        if self.sets.blur not in made and self.blurring.blur_kernel != BlurringConfig().blur_kernel:
            raise UserError("blurring.blur_kernel: for blurred photos that are made; leave it, or blur, out")
        network, multiple = self.generator.network, MULTIPLES[self.generator.network]
        if crop % multiple:
            raise UserError(f"crops.crop: {crop} must be a multiple of {multiple} for generator.network {network!r}")
        if photo_size and crop > photo_size:
            raise UserError(
                f"crops.crop: {crop} is larger than the photos ({photo_size}); lower crop or raise photo_size"
            )
        if self.classifier.head == "flatten" and self.classifier.input_size != crop:
            raise UserError(
                f"classifier.input_size: {self.classifier.input_size} must equal crop ({crop}) with head 'flatten'"
            )
        strides, seen = self.discriminator.strides, crop // 2 if self.discriminator.in_blocks else crop
        if self.discriminator.pool and 2 ** strides.count(2) > seen:
            raise UserError(f"discriminator.strides: {strides} pool a crop of {crop} to nothing")


# Fields that may change between two legs of one run. They do not move what is learned, or (steps) only take it further;
# or they say where something lies, and what lies there is compared instead (`training.workdir.claim_workdir`).
FREE_FIELDS = frozenset(
    (
        "game.steps",
        "self_training.teacher",
        "validation.validate_every",
        *(f"prediction.{name}" for name in PredictionConfig.__dataclass_fields__),
        *(f"keeping.{name}" for name in KeepingConfig.__dataclass_fields__),
        *(f"sets.{name}" for name in ("source", "clear", "blur", "masks", "names", "data_dir", "manual_dir")),
        *(f"start.{name}" for name in StartConfig.__dataclass_fields__),
        *(f"validation.validation_{name}" for name in ("images", "masks", "names")),
    )
)
# Of these, what decides how masks come out, which validation scores.
MASK_FIELDS = frozenset(f"prediction.{name}" for name in ("refine", "colours", "middle", "gain"))

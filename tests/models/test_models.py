"""Networks: parameter counts, shapes, BatchNorm, and which photo sizes each takes."""

import csv
import functools
import math
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from sgdbd_jax.config import TRUNK_LAYERS, ClassifierConfig, DiscriminatorConfig, GeneratorConfig, InputNorm
from sgdbd_jax.models.classifier import Classifier
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.generator import Generator
from sgdbd_jax.models.layers import Conv, batch_norm, conv_block, in_blocks, max_pool, normalise, scaled
from sgdbd_jax.models.networks import Networks, make_generator
from sgdbd_jax.models.vgg16 import LAYERS, VGG16
from sgdbd_jax.presets import PRESETS

GOLDEN = Path(__file__).parents[1] / "golden"
KEY = jax.random.key(0)

VGG16_PARAMETERS = 14_714_688  # Simonyan and Zisserman's 13 convolutions


@functools.cache
def shapes(network: nn.Module, size: int = 64):
    """Variables of a network for photos of this size; nothing is computed."""
    photo = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(lambda photo: network.init(KEY, photo, train=False), photo)


def count(network: nn.Module, size: int = 64) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(network, size)["params"]))


def random_variables(network: nn.Module, size: int = 32):
    """N(0, 2 / fan-in) kernels; statistics, scales and biases unlike those of any one batch."""
    rng = np.random.default_rng(0)

    def fill(leaf):
        if len(leaf.shape) > 1:
            return rng.normal(0, math.sqrt(2 / math.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)
        return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

    return jax.tree.map(fill, shapes(network, size))


def photos(batch: int, height: int, width: int):
    return jnp.asarray(np.random.default_rng(1).uniform(size=(batch, height, width, 3)), jnp.float32)


# Parameter counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "network", "parameters"),
    [
        ("release", "generator", 15_881_217),
        ("release", "discriminator", 4_624_833),
        ("release", "classifier", 31_568_195),
        ("paper", "generator", 21_757_697),
        ("paper", "discriminator", 7_576_257),
        # and FC128 and FC3 on 512 features
        ("paper", "classifier", VGG16_PARAMETERS + (512 * 128 + 128) + (128 * 3 + 3)),
        ("self_trained", "generator", 16_855_905),
        ("self_trained", "discriminator", 3_445_313),
        ("self_trained", "classifier", 14_780_739),
        ("lite", "generator", 4_484_481),
        ("game", "generator", 4_484_481),
        ("game", "discriminator", 613_796),
        ("game", "classifier", 927_187),
        ("demo", "generator", 1_119_585),
        ("demo", "discriminator", 290_673),
        ("demo", "classifier", 927_187),
    ],
)
def test_exact_parameter_counts(preset, network, parameters):
    config = PRESETS[preset]
    assert count(getattr(Networks.of(config), network), config.crops.crop) == parameters


def test_the_release_s_discriminator_holds_what_its_own_state_dict_lists():
    with (GOLDEN / "released_discriminator_state_dict.csv").open() as file:
        listed = {row["key"]: row["shape"] for row in csv.DictReader(file)}
    trained = [shape for key, shape in listed.items() if key.endswith((".weight", ".bias"))]
    assert sum(math.prod(map(int, shape.split("x"))) for shape in trained) == 4_624_833


def test_the_config_knows_vgg16_s_layers():
    assert TRUNK_LAYERS == LAYERS


def test_vgg16_has_its_thirteen_convolutions():
    assert count(VGG16()) == VGG16_PARAMETERS
    kernels = {name: layer["kernel"].shape for name, layer in shapes(VGG16())["params"].items()}
    assert set(kernels) == set(LAYERS) and len(LAYERS) == 13
    assert kernels["conv1_1"] == (3, 3, 3, 64)
    assert kernels["conv3_1"] == (3, 3, 128, 256)
    assert kernels["conv5_3"] == (3, 3, 512, 512)


def test_batch_norm_of_the_trunk_adds_two_parameters_a_channel():
    assert count(VGG16(norm=True)) - count(VGG16()) == 2 * 4224  # 2*64 + 2*128 + 3*256 + 6*512


def test_an_unused_skip_joins_nothing():
    no_skips = GeneratorConfig(skips=("", "", "", ""), merge="concat", skip_norm=True)
    assert count(Generator(no_skips)) == count(Generator(GeneratorConfig()))


@pytest.mark.parametrize(("width", "channels"), [(1.0, 64), (0.25, 16), (0.05, 3), (0.001, 1)])
def test_a_width_scales_channels_to_at_least_one(width, channels):
    assert scaled(64, width) == channels


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_a_trunk_halves_the_map_between_blocks():
    features = jax.eval_shape(
        lambda x: VGG16().apply(shapes_as_zeros(VGG16()), x, train=False),
        jax.ShapeDtypeStruct((2, 48, 32, 3), jnp.float32),
    )
    assert list(features) == list(LAYERS)
    assert features["conv1_2"].shape == (2, 48, 32, 64)
    assert features["conv2_2"].shape == (2, 24, 16, 128)
    assert features["conv3_3"].shape == (2, 12, 8, 256)
    assert features["conv4_3"].shape == (2, 6, 4, 512)
    assert features["conv5_3"].shape == (2, 3, 2, 512)


def shapes_as_zeros(network: nn.Module, size: int = 64):
    return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes(network, size))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_a_mask_has_the_size_of_its_photo(preset, size):
    network = make_generator(PRESETS[preset].generator)
    size = tuple(side * network.multiple // 16 for side in size)
    logits = jax.eval_shape(
        lambda x: network.apply(shapes_as_zeros(network), x, train=False),
        jax.ShapeDtypeStruct((3, *size, 3), jnp.float32),
    )
    assert (logits.shape, logits.dtype) == ((3, *size, 1), jnp.float32)


def test_the_release_s_decoder_concatenates_three_skips_before_its_blocks():
    params = shapes(Generator(PRESETS["release"].generator))["params"]
    kernels = {name: layer["kernel"].shape for name, layer in params.items() if "conv" in name and "norm" not in name}
    assert kernels == {
        "block1_conv1": (1, 1, 1024, 256),
        "block1_conv2": (3, 3, 256, 256),
        "block2_conv1": (1, 1, 512, 128),
        "block2_conv2": (3, 3, 128, 128),
        "block3_conv1": (1, 1, 256, 64),
        "block3_conv2": (3, 3, 64, 64),
        "block3_conv3": (3, 3, 64, 32),
        "block4_conv1": (3, 3, 32, 32),
        "block4_conv2": (3, 3, 32, 32),
    }
    assert params["head"]["kernel"].shape == (1, 1, 32, 1)


def test_the_paper_s_decoder_adds_each_skip_after_its_block():
    """With every kernel of the decoder zero but the head's, a logit is the sum of what the last skip adds."""
    config = GeneratorConfig(width=0.02)
    network, photo = Generator(config), photos(1, 16, 16)
    variables = random_variables(network, 16)
    for name, layer in variables["params"].items():
        if name.startswith("block"):
            layer["kernel"][:], layer["bias"][:] = 0, 0
    variables["params"]["head"] = {"kernel": np.ones((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
    trunk = VGG16(0.02).apply({"params": variables["params"]["trunk"]}, 2 * photo - 1, train=False)
    logits = network.apply(variables, photo, train=False)
    np.testing.assert_allclose(logits, trunk["conv1_2"], rtol=1e-5)
    assert float(logits.std()) > 0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(16, 16), (50, 33), (256, 256)])
def test_a_discriminator_gives_one_logit_a_photo_of_any_size(preset, size):
    """And, where it judges patches too, one of each place of the convolutions that its config names."""
    network = Discriminator(PRESETS[preset].discriminator)
    verdicts = jax.eval_shape(
        lambda x: network.apply(shapes_as_zeros(network), x, train=False),
        jax.ShapeDtypeStruct((3, *size, 3), jnp.float32),
    )
    assert isinstance(verdicts, tuple) == (preset == "game")
    whole, *patches = verdicts if preset == "game" else (verdicts,)
    assert (whole.shape, whole.dtype) == ((3,), jnp.float32)
    for logits, halvings in zip(patches, (2, 3, 4), strict=preset == "game"):
        blocks = (side // 2 for side in size)
        assert logits.shape == (3, *(math.ceil(side / 2 ** (halvings - 1)) for side in blocks))


def test_a_discriminator_s_parameters_do_not_depend_on_the_size():
    network = Discriminator(DiscriminatorConfig())
    assert shapes(network, 16) == shapes(network, 96)


def test_a_discriminator_halves_the_map_at_each_stride():
    """9 convolutions, 4 of stride 2: of 64 x 64 pixels, 4 x 4 are averaged."""
    config = DiscriminatorConfig(width=0.02)
    _, seen = jax.eval_shape(
        lambda x: Discriminator(config).apply(
            shapes_as_zeros(Discriminator(config)), x, train=False, capture_intermediates=True
        ),
        jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32),
    )
    sides = [seen["intermediates"][f"conv{index}"]["__call__"][0].shape[1] for index in range(1, 10)]
    assert sides == [64, 32, 32, 16, 16, 8, 8, 4, 4]


def test_a_discriminator_may_pool_and_norm_each_photo_whole():
    config = DiscriminatorConfig(0.05, (64, 64, 128), (1, 2, 1), pool=True, norm="layer")
    network, photo = Discriminator(config), photos(1, 16, 16)
    variables = random_variables(network)
    _, seen = network.apply(variables, photo, train=True, capture_intermediates=True)
    found = {name: value["__call__"][0] for name, value in seen["intermediates"].items() if name.startswith("conv")}
    assert [found[f"conv{at}"].shape[1] for at in (1, 2, 3)] == [16, 16, 8]
    x, norm = found["conv2"], variables["params"]["conv2_norm"]
    wanted = (x - x.mean()) / jnp.sqrt(x.var() + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(found["conv2_norm"], wanted, rtol=1e-3, atol=1e-4)
    pooled = max_pool(jnp.maximum(wanted, 0.2 * wanted))
    third = nn.Conv(6, (3, 3)).apply({"params": variables["params"]["conv3"]}, pooled)
    np.testing.assert_allclose(found["conv3"], third, rtol=1e-3, atol=1e-3)


def test_a_discriminator_with_layer_norms_judges_each_photo_alone():
    network, photo = Discriminator(DiscriminatorConfig(width=0.02, norm="layer")), photos(3, 32, 32)
    variables = random_variables(network)
    assert set(variables) == {"params"}
    together = network.apply(variables, photo, train=True)
    alone = jnp.concatenate([network.apply(variables, photo[at : at + 1], train=True) for at in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_a_discriminator_may_take_blocks_of_a_photo_and_its_high_pass_and_judge_patches_without_a_norm():
    """Two convolutions without a norm, told plainly; the second one's places are judged too."""
    config = DiscriminatorConfig(1.0, (4, 5), (1, 2), norm="none", in_blocks=True, patches=(2,), hidden=3)
    network, photo = Discriminator(config), photos(2, 16, 12)
    variables = random_variables(network)
    params = variables["params"]
    assert set(variables) == {"params"} and set(params) == {"conv1", "conv2", "patch2", "hidden", "logit"}
    whole, patches = network.apply(variables, photo, train=True)
    x = in_blocks(normalise(photo, config.input))
    for name, count, stride in (("conv1", 4, 1), ("conv2", 5, 2)):
        x = nn.Conv(count, (3, 3), stride, padding=1).apply({"params": params[name]}, x)
        x = jnp.maximum(x, 0.2 * x)
    assert patches.shape == (2, 4, 3)
    wanted = x @ params["patch2"]["kernel"] + params["patch2"]["bias"]
    np.testing.assert_allclose(patches, wanted[..., 0], rtol=1e-3, atol=1e-3)
    hidden = x.mean((1, 2)) @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    hidden = jnp.maximum(hidden, 0.2 * hidden)
    np.testing.assert_allclose(whole, (hidden @ params["logit"]["kernel"] + params["logit"]["bias"])[:, 0], rtol=1e-3)


def test_blocks_hold_four_pixels_of_the_photo_and_four_of_its_high_pass():
    """Of a photo that is 9 at one pixel and 0 elsewhere: 9 of the photo, and 4 (9 - 1) of the high-pass."""
    photo = jnp.zeros((1, 8, 8, 3)).at[0, 2, 5, 1].set(9.0)
    blocks = in_blocks(photo)
    assert blocks.shape == (1, 4, 4, 24)
    at = blocks[0, 1, 2].reshape(4, 2, 3)  # pixel in reading order, photo or high-pass, RGB
    np.testing.assert_allclose(at[1, :, 1], [9.0, 4 * (9 - 1)], rtol=1e-6)  # the upper right of its block
    np.testing.assert_allclose(at[0, :, 1], [0.0, -4.0], rtol=1e-6)
    assert not at[..., 0].any() and not at[..., 2].any()


def test_several_layers_of_a_classifier_make_a_v_of_parts_of_length_1():
    layers = ("conv2_2", "conv5_3")
    network, photo = Classifier(ClassifierConfig(width=0.02, layers=layers)), photos(2, 32, 16)
    variables = random_variables(network)
    features, logits = network.apply(variables, photo, train=False)
    trunk = VGG16(0.02).apply({"params": variables["params"]["trunk"]}, 2 * photo - 1, train=False)
    means = [np.asarray(trunk[layer].mean((1, 2))) for layer in layers]
    parts = [mean / np.linalg.norm(mean, axis=1, keepdims=True) for mean in means]
    np.testing.assert_allclose(features, np.concatenate(parts, axis=1), rtol=1e-4)
    assert features.shape == (2, 3 + 10) and logits.shape == (2, 3)
    assert variables["params"]["hidden"]["kernel"].shape[0] == 13


def test_one_other_layer_of_a_classifier_is_averaged_as_it_is():
    network, photo = Classifier(ClassifierConfig(width=0.02, layers=("conv3_3",))), photos(1, 16, 16)
    variables = random_variables(network)
    trunk = VGG16(0.02).apply({"params": variables["params"]["trunk"]}, 2 * photo - 1, train=False)
    features, _ = network.apply(variables, photo, train=False)
    np.testing.assert_allclose(features, trunk["conv3_3"].mean((1, 2)), rtol=1e-5)


def test_a_v_of_layers_that_are_all_zero_has_a_finite_gradient():
    network = Classifier(ClassifierConfig(width=0.02, layers=("conv1_1", "conv1_2")))
    variables = shapes_as_zeros(network, 16)
    slope = jax.jit(jax.grad(lambda photo: network.apply(variables, photo, train=False)[0].sum()))
    assert np.isfinite(slope(photos(1, 16, 16))).all()


def test_a_pooled_classifier_averages_the_trunk_and_takes_any_size():
    config = ClassifierConfig(width=0.02)
    network, photo = Classifier(config), photos(2, 32, 16)
    variables = random_variables(network)
    features, logits = network.apply(variables, photo, train=False)
    trunk = VGG16(0.02).apply({"params": variables["params"]["trunk"]}, 2 * photo - 1, train=False)
    np.testing.assert_allclose(features, trunk["conv5_3"].mean((1, 2)), rtol=1e-5)
    assert features.shape == (2, 10) and logits.shape == (2, 3)


def test_a_pooled_classifier_has_the_paper_s_features_and_layers():
    network = Classifier(ClassifierConfig())
    features, logits = jax.eval_shape(
        lambda x: network.apply(shapes_as_zeros(network), x, train=False),
        jax.ShapeDtypeStruct((2, 64, 48, 3), jnp.float32),
    )
    assert features.shape == (2, 512) and logits.shape == (2, 3)


def test_a_flattening_classifier_is_built_for_one_size():
    """At 256 pixels the fifth pool leaves 8 x 8 x 512, and FC512 on it is V."""
    network = Classifier(PRESETS["release"].classifier)
    variables = shapes_as_zeros(network, 256)
    assert variables["params"]["features"]["kernel"].shape == (8 * 8 * 512, 512)
    features, logits = jax.eval_shape(
        lambda x: network.apply(variables, x, train=False), jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32)
    )
    assert features.shape == (2, 512) and logits.shape == (2, 3)
    with pytest.raises(ScopeParamShapeError):
        jax.eval_shape(
            lambda x: network.apply(variables, x, train=False), jax.ShapeDtypeStruct((2, 320, 320, 3), jnp.float32)
        )


def test_given_parameters_are_not_drawn_but_must_have_their_shape():
    """Flax draws them, as far as tracing goes, to see what shape they should have."""

    def draw(*_):
        pytest.fail("drawn")

    layer, photo = Conv(4, kernel_init=draw), jnp.ones((1, 3, 3, 2))
    params = {"kernel": np.ones((3, 3, 2, 4), np.float32), "bias": np.ones(4, np.float32)}
    assert layer.apply({"params": params}, photo)[0, 1, 1].tolist() == [19.0] * 4
    for wrong in ({"bias": np.ones(1, np.float32)}, {"kernel": np.ones((3, 3, 2, 5), np.float32)}):
        with pytest.raises(ScopeParamShapeError):
            layer.apply({"params": params | wrong}, photo)


# Layers ---------------------------------------------------------------------------------------------------------------


def test_photos_are_normalised_channel_by_channel():
    norm = InputNorm((0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    pixel = normalise(jnp.asarray([[[[1.0, 0.0, 1.0]]]]), norm)
    np.testing.assert_allclose(pixel, [[[[1.0, -1.0, 0.5]]]])
    np.testing.assert_allclose(normalise(jnp.asarray([[[[0.0, 0.5, 1.0]]]]), InputNorm()), [[[[-1.0, 0.0, 1.0]]]])


class OneConv(nn.Module):
    """A 3x3 convolution of ones, without BatchNorm."""

    stride: int

    @nn.compact
    def __call__(self, x):
        ones = nn.initializers.ones
        return conv_block(x, 1, name="c", train=False, axis_name=None, stride=self.stride, norm=False, kernel_init=ones)


def test_convolutions_pad_as_torch_does():
    """Counting ones: a corner sees 4 pixels, an edge 6; with stride 2 the first window is the corner's."""
    ones = jnp.ones((1, 4, 4, 1))
    whole, _ = OneConv(1).init_with_output(KEY, ones)
    np.testing.assert_allclose(whole[0, ..., 0], [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])
    halved, _ = OneConv(2).init_with_output(KEY, ones)
    np.testing.assert_allclose(halved[0, ..., 0], [[4, 6], [6, 9]])


def test_pooling_leaves_out_an_odd_last_row_and_column():
    pooled = max_pool(jnp.arange(15.0).reshape(1, 3, 5, 1))
    np.testing.assert_array_equal(pooled[0, ..., 0], [[6, 8]])


def test_pooling_s_derivative_goes_to_the_first_of_the_largest():
    squares = jnp.asarray([[1.0, 5, 3, 3, 9], [5, 2, 3, 3, 9], [9, 9, 9, 9, 9]]).reshape(1, 3, 5, 1)
    (gradient,) = jax.vjp(max_pool, squares)[1](jnp.asarray([7.0, 8.0]).reshape(1, 1, 2, 1))
    np.testing.assert_array_equal(gradient[0, ..., 0], [[0, 7, 8, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


class OneNorm(nn.Module):
    @nn.compact
    def __call__(self, x, *, train: bool):
        return batch_norm(x, name="norm", train=train, axis_name=None)


def test_batch_norm_uses_the_batch_in_training_and_moves_its_statistics_by_a_tenth():
    """Of 2 and 4, the mean is 3 and the variance 1."""
    x = jnp.asarray([2.0, 4.0]).reshape(2, 1, 1, 1)
    start = {"params": {"norm": {"scale": jnp.ones(1), "bias": jnp.zeros(1)}}}
    start["batch_stats"] = {"norm": {"mean": jnp.full(1, 10.0), "var": jnp.full(1, 20.0)}}
    out, new = OneNorm().apply(start, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(out.ravel(), np.array([-1, 1]) / np.sqrt(1 + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["norm"]["mean"], [0.9 * 10 + 0.1 * 3], rtol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["norm"]["var"], [0.9 * 20 + 0.1 * 1], rtol=1e-6)


def test_batch_norm_uses_its_statistics_in_evaluation_and_keeps_them():
    x = jnp.asarray([2.0, 4.0]).reshape(2, 1, 1, 1)
    start = {"params": {"norm": {"scale": jnp.full(1, 3.0), "bias": jnp.ones(1)}}}
    start["batch_stats"] = {"norm": {"mean": jnp.full(1, 10.0), "var": jnp.full(1, 4.0)}}
    out, new = OneNorm().apply(start, x, train=False, mutable=["batch_stats"])
    np.testing.assert_allclose(out.ravel(), [3 * (2 - 10) / 2 + 1, 3 * (4 - 10) / 2 + 1], rtol=1e-5)
    assert jax.tree.map(np.ndarray.item, jax.device_get(new["batch_stats"]["norm"])) == {"mean": 10.0, "var": 4.0}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["generator", "discriminator", "classifier"])
def test_every_batch_norm_averages_over_devices_in_training_alone(preset, name):
    config = PRESETS[preset]
    network = getattr(Networks.of(config, "devices"), name)
    variables = shapes_as_zeros(getattr(Networks.of(config), name), config.crops.crop)
    axes: dict[bool, list[str | None]] = {True: [], False: []}

    def watch(call, arguments, options, context):
        if isinstance(context.module, nn.BatchNorm):
            axes[not context.module.use_running_average].append(context.module.axis_name)
        return call(*arguments, **options)

    def on_two_devices(photo):
        for train in (True, False):
            network.apply(variables, photo, train=train, mutable=["batch_stats"])

    with nn.intercept_methods(watch):
        side = config.crops.crop
        jax.eval_shape(
            jax.vmap(on_two_devices, axis_name="devices"), jax.ShapeDtypeStruct((2, 1, side, side, 3), jnp.float32)
        )
    layers = len(variables.get("batch_stats", {}).get("trunk", {}))
    layers += sum(layer.endswith("_norm") for layer in variables.get("batch_stats", {}))
    assert axes == {True: ["devices"] * layers, False: [None] * layers}


def test_in_evaluation_a_photo_s_mask_does_not_depend_on_the_others_in_training_it_does():
    network = Generator(GeneratorConfig(width=0.02, trunk_norm=True, decoder_norm=True))
    variables, three = random_variables(network), photos(3, 32, 32)
    others = three.at[1:].set(1 - three[1:])
    evaluate = jax.jit(lambda x: network.apply(variables, x, train=False)[0])
    np.testing.assert_array_equal(evaluate(three), evaluate(others))
    train = jax.jit(lambda x: network.apply(variables, x, train=True, mutable=["batch_stats"])[0][0])
    assert float(jnp.abs(train(three) - train(others)).max()) > 0.01

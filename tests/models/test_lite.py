"""The light generator: what it costs, that folding and tiny widths work, that it looks at the whole photo."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_generators import random_variables

from sgdbd_jax.models.convolution import plain
from sgdbd_jax.models.folding import fold_norms, with_taps
from sgdbd_jax.models.layers import mean_of_nine
from sgdbd_jax.models.lite import LiteGenerator
from sgdbd_jax.models.networks import make_generator
from sgdbd_jax.presets import PRESETS

CONFIG = PRESETS["lite"].generator
FOLDED = dataclasses.replace(CONFIG, trunk_norm=False, decoder_norm=False)
TINY = dataclasses.replace(CONFIG, width=0.1)
PHOTO = np.random.default_rng(1).random((2, 64, 96, 3), np.float32)


def logits(config, variables, photo=PHOTO):
    return jax.jit(lambda photo: make_generator(config).apply(variables, photo, train=False))(photo)


def shape(config, *size):
    network = make_generator(config)
    photo = jax.ShapeDtypeStruct((1, *size, 3), np.float32)
    return jax.eval_shape(lambda photo: network.init(jax.random.key(0), photo, train=False), photo)


def multiplications(config, height, width):
    """Of all convolutions and products in the compiled program, each output times what is summed for it."""
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shape(config, height, width))
    photo = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
    network = make_generator(config)
    with plain():
        program = jax.jit(lambda v, x: network.apply(v, x, train=False)).lower(variables, photo).compile()
    shapes, total, found = {}, 0, 0
    for line in program.as_text().splitlines():
        match = re.match(r"\s*(?:ROOT )?(%?[\w.-]+) = \w+\[([\d,]*)\]\S* (\w[\w-]*)\(([^)]*)\)(.*)", line)
        if not match:
            continue
        name, size, kind, operands, rest = match.groups()
        shapes[name] = [int(side) for side in size.split(",") if side]
        if kind not in ("convolution", "dot"):
            continue
        kernel = shapes[re.findall(r"%[\w.-]+", operands)[1]]
        found += 1
        if kind == "dot":
            at = int(re.search(r"rhs_contracting_dims=\{(\d+)\}", rest)[1])
            summed = kernel[at]
        else:
            labels = re.search(r"_(\w+)->", rest)[1]
            summed = np.prod([side for side, label in zip(kernel, labels) if label != "o"])
        total += np.prod(shapes[name]) * summed
    return total, found


def test_a_mask_takes_at_most_45_000_multiplications_a_pixel():
    total, found = multiplications(FOLDED, 64, 64)
    assert found == 33  # convolutions, and the product with what the whole photo says
    assert total / 64**2 <= 45_000


def test_it_takes_a_twelfth_of_a_network_on_vgg16():
    heavy, _ = multiplications(dataclasses.replace(PRESETS["self_trained"].generator, decoder_norm=False), 64, 64)
    assert heavy > 11.5 * multiplications(FOLDED, 64, 64)[0]


def test_it_fits_into_10_megabytes():
    assert 2 * sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shape(CONFIG, 32, 32))) < 10e6


def test_no_convolution_runs_at_full_resolution():
    jaxpr = jax.make_jaxpr(lambda x: LiteGenerator(FOLDED).init(jax.random.key(0), x, train=False))(PHOTO)
    sizes = {tuple(out.aval.shape[1:3]) for e in jaxpr.jaxpr.eqns if "conv" in str(e.primitive) for out in e.outvars}
    assert (64, 96) not in sizes


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_a_mask_has_the_size_of_its_photo(size):
    photo = np.zeros((3, *size, 3), np.float32)
    assert logits(TINY, random_variables(TINY), photo).shape == (3, *size, 1)


def test_masks_are_those_with_norms_folded_and_filters_worked_out():
    config = dataclasses.replace(CONFIG, width=0.7)  # 134 channels in its deepest stages, which Winograd's filters take
    variables = random_variables(config)
    expected = logits(config, variables)
    assert expected.std() > 0.01  # so that agreement says something
    folded = fold_norms(variables)
    assert not folded["batch_stats"]
    prepared = with_taps(folded)
    assert "stage3_1a" in prepared["taps"]
    found = logits(dataclasses.replace(config, trunk_norm=False, decoder_norm=False), prepared)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_every_parameter_has_its_part_in_the_mask():
    variables = random_variables(TINY)
    network = make_generator(TINY)
    grads = jax.jit(jax.grad(lambda p: network.apply(variables | {"params": p}, PHOTO, train=False).sum()))(
        variables["params"]
    )
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(grads))


def test_the_high_pass_is_the_photo_less_the_mean_of_nine():
    photo = np.random.default_rng(0).random((1, 5, 6, 2), np.float32)
    padded = np.pad(photo, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    windows = [padded[:, i : i + 5, j : j + 6] for i in range(3) for j in range(3)]
    np.testing.assert_allclose(mean_of_nine(jnp.asarray(photo)), np.mean(windows, axis=0), atol=1e-6)


def test_a_mask_depends_on_the_far_end_of_its_photo():
    variables, photo = random_variables(TINY), np.tile(PHOTO[:1], (1, 1, 4, 1))
    other = photo.copy()
    other[:, :, -32:] = 0
    near = [logits(TINY, variables, each)[:, :, :8] for each in (photo, other)]
    assert float(jnp.abs(near[0] - near[1]).max()) > 0

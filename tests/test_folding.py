"""BatchNorm folded into convolutions: the same masks from fewer layers."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_generators import CONFIG, random_variables

from sgdbd_jax.models.folding import fold_norms
from sgdbd_jax.models.generator import Generator

PHOTO = np.random.default_rng(1).random((2, 32, 48, 3), np.float32)


def masks(config, variables):
    return jax.jit(lambda photo: jax.nn.sigmoid(Generator(config).apply(variables, photo, train=False)))(PHOTO)


@pytest.mark.parametrize("merge", ["add", "concat"])
def test_masks_are_those_of_the_generator_with_its_norms(merge):
    config = dataclasses.replace(CONFIG, skip_norm=True, merge=merge)
    variables = random_variables(config)
    folded = fold_norms(config, variables)
    expected = masks(config, variables)
    assert expected.std() > 0.01  # so that agreement says something
    np.testing.assert_allclose(masks(*folded), expected, atol=1e-5)


def test_only_the_norms_of_skips_are_left():
    config, variables = fold_norms(CONFIG, random_variables())
    assert not config.trunk_norm and not config.decoder_norm and not variables["batch_stats"]
    with_skips = dataclasses.replace(CONFIG, skip_norm=True)
    config, variables = fold_norms(with_skips, random_variables(with_skips))
    assert config.skip_norm and set(variables["batch_stats"]) == {"skip1_norm", "skip2_norm", "skip3_norm", "skip4_norm"}


def test_a_generator_without_norms_stays_as_it_is():
    plain = dataclasses.replace(CONFIG, trunk_norm=False, decoder_norm=False)
    given = random_variables(plain)
    config, variables = fold_norms(plain, given)
    assert config == plain
    jax.tree.map(np.testing.assert_array_equal, variables["params"], given["params"])

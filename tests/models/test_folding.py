"""BatchNorm folded into convolutions: the same masks from fewer layers."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_generators import CONFIG, random_variables

from sgdbd_jax.config import ClassifierConfig, GeneratorConfig
from sgdbd_jax.models.classifier import Classifier
from sgdbd_jax.models.folding import fold_norms, with_taps
from sgdbd_jax.models.generator import Generator

PHOTO = np.random.default_rng(1).random((2, 32, 48, 3), np.float32)


def masks(config, variables):
    return jax.jit(lambda photo: jax.nn.sigmoid(Generator(config).apply(variables, photo, train=False)))(PHOTO)


@pytest.mark.parametrize("merge", ["add", "concat"])
def test_masks_are_those_of_the_generator_with_its_norms(merge):
    config = dataclasses.replace(CONFIG, skip_norm=True, merge=merge)
    variables = random_variables(config)
    expected = masks(config, variables)
    assert expected.std() > 0.01  # so that agreement says something
    folded = dataclasses.replace(config, trunk_norm=False, decoder_norm=False)
    np.testing.assert_allclose(masks(folded, fold_norms(variables)), expected, atol=1e-5)


@pytest.mark.parametrize("head", ["pool", "flatten"])
def test_features_are_those_of_the_classifier_with_its_norms(head):
    config = ClassifierConfig(width=0.05, norm=True, head=head, input_size=32)
    photo = PHOTO[:, :, :32]
    shapes = jax.eval_shape(lambda: Classifier(config).init(jax.random.key(0), photo, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.uniform(0.2, 1, leaf.shape).astype(np.float32), shapes)
    folded = dataclasses.replace(config, norm=False)
    expected = Classifier(config).apply(variables, photo, train=False)
    found = Classifier(folded).apply(fold_norms(variables), photo, train=False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, expected)


def test_only_the_norms_of_skips_are_left():
    assert not fold_norms(random_variables())["batch_stats"]
    variables = fold_norms(random_variables(dataclasses.replace(CONFIG, skip_norm=True)))
    assert set(variables["batch_stats"]) == {"skip1_norm", "skip2_norm", "skip3_norm", "skip4_norm"}


def test_variables_without_norms_stay_as_they_are():
    given = random_variables(dataclasses.replace(CONFIG, trunk_norm=False, decoder_norm=False))
    jax.tree.map(np.testing.assert_array_equal, fold_norms(given)["params"], given["params"])


def test_numpy_s_arrays_stay_numpy_s_so_that_nothing_is_compiled():
    given = random_variables(GeneratorConfig(network="lite", trunk_norm=True, decoder_norm=True))
    worked_out = with_taps(fold_norms(given))
    assert {(type(leaf), leaf.dtype.name) for leaf in jax.tree.leaves(worked_out)} == {(np.ndarray, "float32")}
    assert worked_out["taps"]


def test_filters_worked_out_beforehand_give_the_same_masks():
    config = GeneratorConfig(width=0.25)  # 128 channels in its deepest blocks
    photo, shapes = PHOTO[:1], jax.eval_shape(lambda: Generator(config).init(jax.random.key(0), PHOTO, train=False))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, (2 / max(np.prod(leaf.shape[:-1]), 1)) ** 0.5, leaf.shape).astype(np.float32), shapes
    )
    prepared = with_taps(variables)
    assert [part.shape for part in prepared["taps"]["trunk"]["conv5_1"]["taps"]] == 6 * [(1, 3, 128, 128)]
    assert "conv2_2" not in prepared["taps"]["trunk"]  # 32 channels
    expected = Generator(config).apply(variables, photo, train=False)
    found = Generator(config).apply(prepared, photo, train=False)
    assert expected.std() > 0.01  # so that agreement says something
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

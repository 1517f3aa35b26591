"""The bilinear doubling of the decoder, by hand and against PyTorch's."""

import jax.numpy as jnp
import numpy as np
import pytest

from sgdbd_jax.models.layers import upsample
from sgdbd_jax.presets import PRESETS


@pytest.mark.parametrize(
    ("row", "align_corners", "doubled"),
    [
        ([0, 1], False, [0, 1 / 4, 3 / 4, 1]),
        ([0, 1], True, [0, 1 / 3, 2 / 3, 1]),
        ([0, 4, 2], False, [0, 1, 3, 3.5, 2.5, 2]),
        ([0, 5, 0], True, [0, 2, 4, 4, 2, 0]),
        ([7], False, [7, 7]),
        ([7], True, [7, 7]),
    ],
)
@pytest.mark.parametrize("vertical", [False, True])
def test_doubling_a_row_gives_torch_s_values(row, align_corners, doubled, vertical):
    """`align_corners`: output i samples input i (n - 1) / (2n - 1); else (i + 1/2) / 2 - 1/2, held to the edges."""
    shape = (1, -1, 1, 1) if vertical else (1, 1, -1, 1)
    out = upsample(jnp.asarray(row, jnp.float32).reshape(shape), align_corners=align_corners)
    lines = np.asarray(out)[0, ..., 0]
    expected = np.stack([doubled, doubled])  # the other direction has one pixel, repeated
    np.testing.assert_allclose(lines.T if vertical else lines, expected, atol=1e-6)


def test_doubling_in_two_directions_is_the_product_of_both():
    square = upsample(jnp.asarray([[0.0, 3.0], [6.0, 9.0]]).reshape(1, 2, 2, 1), align_corners=True)
    np.testing.assert_allclose(square[0, ..., 0], [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]], atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (4, 4), (3, 20)])
def test_doubling_agrees_with_torch(size, align_corners):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=align_corners
    )
    ours = upsample(jnp.asarray(x), align_corners=align_corners)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_the_release_doubles_with_aligned_corners_and_the_paper_without():
    assert {name: config.generator.align_corners for name, config in PRESETS.items()} == {
        "release": True, "paper": False, "self_trained": False, "lite": False, "game": False, "demo": False,
    }  # fmt: skip

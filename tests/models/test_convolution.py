"""The convolutions of our own against XLA's: values, and both derivatives, at shapes that divide and that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdbd_jax.models import convolution

SHAPES = [  # photo side (height, width), channels, features, kernel, stride
    ((32, 32), 16, 8, 3, 1),
    ((33, 35), 16, 8, 3, 1),
    ((64, 64), 16, 8, 3, 2),
    ((65, 67), 16, 8, 3, 2),
    ((32, 32), 16, 8, 1, 1),
    ((32, 32), 128, 128, 3, 1),
    ((34, 33), 128, 128, 3, 1),
    ((66, 65), 128, 128, 3, 1),
    ((18, 17), 128, 128, 3, 1),
    ((32, 32), 128, 16, 3, 2),
    ((33, 35), 128, 16, 3, 2),
    ((8, 8), 3, 4, 3, 1),
    ((9, 7), 16, 3, 3, 1),
    ((5, 1), 5, 1, 3, 1),
    ((9, 8), 4, 4, 3, 2),
]


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def relative(found, expected):
    return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())


@pytest.mark.parametrize("side, channels, features, size, stride", SHAPES)
def test_value_and_derivatives_are_those_of_xla(side, channels, features, size, stride):
    x, kernel = drawn(0, 2, *side, channels), drawn(1, size, size, channels, features)
    expected, pullback = jax.vjp(lambda *args: convolution.by_taps(*args, stride), x, kernel)
    grad = drawn(2, *expected.shape)

    found, own_pullback = jax.jit(lambda *args: jax.vjp(lambda *args: convolution.convolve(*args, stride), *args))(
        x, kernel
    )
    assert relative(found, expected) < 1e-5
    for own, xla in zip(own_pullback(grad), pullback(grad)):
        assert own.shape == xla.shape
        assert relative(own, xla) < 1e-5


def test_the_shapes_above_try_every_tile():
    forms = {convolution.tile((2, *side, c), (k, k, c, f), s) for side, c, f, k, s in SHAPES}
    assert forms == {0, 2, 4}


@pytest.mark.parametrize("outputs", [2, 4])
def test_winograd_matrices_are_exact_filters(outputs):
    back, filters, data = convolution.WINOGRAD[outputs]
    taps, pixels = np.array([3.0, -1.0, 2.0]), np.array([1.0, 4.0, -2.0, 5.0, 7.0, -3.0])[: outputs + 2]
    expected = [taps @ pixels[i : i + 3] for i in range(outputs)]
    np.testing.assert_allclose(back @ ((filters @ taps) * (data @ pixels)), expected, rtol=1e-12)


@pytest.mark.parametrize("outputs, times", [(0, 1.5), (2, 2), (4, 10)])
def test_the_weight_gradient_is_nearly_as_close_to_float64_as_xla_is(outputs, times):
    x, grad = drawn(3, 2, 64, 64, 16), drawn(4, 2, 64, 64, 8)
    exact = np.zeros((3, 3, 16, 8))
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for i in range(3):
        for j in range(3):
            exact[i, j] = np.einsum("bhwc,bhwk->ck", padded[:, i : i + 64, j : j + 64], np.asarray(grad, np.float64))
    (xla,) = jax.linear_transpose(lambda kernel: convolution.by_taps(x, kernel), jnp.zeros((3, 3, 16, 8), jnp.float32))(
        grad
    )
    own = convolution.weight_gradient(x, grad, 3, 1, outputs)
    assert np.abs(own - exact).max() <= times * np.abs(xla - exact).max()


def test_input_gradient_by_hand():
    """One output pixel reads rows and columns -1, 0, 1 of its place: the gradient is the kernel, cut at the border."""
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    grad = jnp.zeros((1, 2, 2, 1)).at[0, 1, 1, 0].set(1.0)
    expected = np.zeros((4, 4))
    expected[1:4, 1:4] = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(convolution.input_gradient(kernel, grad)[0, :, :, 0], expected)

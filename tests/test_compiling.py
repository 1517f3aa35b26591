"""The compiler's numbers: what a jaxlib that miscounts would get wrong, against NumPy in float64."""

import ast
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sgdbd_jax
from sgdbd_jax.compiling import OPTIONS, jit
from sgdbd_jax.game import losses
from sgdbd_jax.models.convolution import by_sums, weight_gradient
from sgdbd_jax.training.step import describe_mask

ROWS = (32_768, 32_769, 40_000)  # of a product, around the number from which jaxlib 0.10.2 miscounts


def lengths(rows: jax.Array) -> jax.Array:
    """Squared lengths of `[N, 3]` rows, by way of a product with the identity."""
    return jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))(rows)


def counted(number: int) -> np.ndarray:
    """Rows whose lengths are their places."""
    rows = np.zeros((number, 3), np.float32)
    rows[:, 0] = np.arange(number)
    return rows


@pytest.mark.parametrize("number", ROWS)
def test_a_product_and_the_sum_that_follows_are_right(number: int) -> None:
    found = jit(lengths)(counted(number))

    np.testing.assert_allclose(found, np.arange(number, dtype=np.float64) ** 2, rtol=1e-6)


def test_what_is_compiled_here_can_be_a_part_of_another_program() -> None:
    inner = jit(lengths)
    rows = counted(4)

    assert inner.lower(rows).compile() is not None
    for outer in (jax.jit(inner), jax.jit(lambda rows: inner(rows)), jit(inner), jax.jit(lambda _: inner(rows))):
        np.testing.assert_array_equal(outer(rows), [0, 1, 4, 9])
    np.testing.assert_array_equal(jax.vmap(inner)(rows[None]), [[0, 1, 4, 9]])
    np.testing.assert_array_equal(jax.grad(lambda rows: inner(rows).sum())(rows), 2 * rows)


def test_nothing_is_compiled_around_it() -> None:
    package = Path(sgdbd_jax.__file__).parent
    names = {"jit", "pmap"}

    def compiles(node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom):
            return node.module != "sgdbd_jax.compiling" and any(alias.name in names for alias in node.names)
        return isinstance(node, ast.Attribute) and node.attr in names

    named = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(map(compiles, ast.walk(ast.parse(path.read_text()))))
    }

    handed_on = {"exporting/stablehlo.py"}  # to be compiled elsewhere
    assert named == {"compiling.py", "training/parallel.py"} | handed_on


def test_nothing_is_handed_over_where_products_and_sums_are_miscounted() -> None:
    program = jit(lambda a, b: jnp.maximum(a @ b, 0).sum(axis=1)).lower(np.ones((300, 64)), np.ones((64, 300)))

    assert not OPTIONS or "__ynn_fusion" not in program.compile().as_text()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cross_entropy(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return (np.logaddexp(0, logits) - logits * truth).mean()


def cosine_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()


def described(mask: np.ndarray) -> list[np.ndarray]:
    coverage = mask.mean(axis=(1, 2, 3))
    entropy = -(mask * np.log2(mask) + (1 - mask) * np.log2(1 - mask)).mean()
    return [coverage.mean(), (coverage**2).mean(), entropy]


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.mean(axis=(0, 1, 2)), (x**2).mean(axis=(0, 1, 2)) - x.mean(axis=(0, 1, 2)) ** 2


def neighbours(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A 3x3 convolution with one channel out, from its definition."""
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [(i, j) for i in range(3) for j in range(3)]
    return sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in taps)


MASK = (4, 256, 256, 1)  # the release's crops
# Every sum that the game and its log are made of, at full size.
SUMS: dict[str, tuple[Callable, Callable, tuple[np.ndarray, ...]]] = {
    "mask_cross_entropy": (
        losses.mask_cross_entropy,
        cross_entropy,
        (6 * noise(*MASK) - 3, noise(*MASK, seed=1)),
    ),
    "coverage_loss": (
        lambda mask: losses.coverage_loss(mask, minimum=0.9),
        lambda mask: np.maximum(0, 0.9 - mask.mean(axis=(1, 2, 3))).mean(),
        (noise(*MASK),),
    ),
    "binarisation_loss": (losses.binarisation_loss, lambda mask: np.minimum(mask, 1 - mask).mean(), (noise(*MASK),)),
    "feature_distance": (
        losses.feature_distance,
        cosine_distance,
        (noise(8, 32_800), noise(8, 32_800, seed=1)),
    ),
    "feature_distance of many": (
        losses.feature_distance,
        cosine_distance,
        (noise(32_800, 3), noise(32_800, 3, seed=1)),
    ),
    "discriminator_loss": (
        losses.discriminator_loss,
        lambda real, fake: np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean(),
        (noise(40_000), noise(40_000, seed=1)),
    ),
    "describe_mask": (
        lambda mask: [describe_mask(mask)[name] for name in ("coverage", "coverage_square", "mask_entropy")],
        described,
        (0.98 * noise(*MASK) + 0.01,),
    ),
    "norm of gradients": (
        lambda a, b: optax.tree.norm({"a": a, "b": b}),
        lambda a, b: np.sqrt((a**2).sum() + (b**2).sum()),
        (noise(3, 3, 512, 512), noise(512)),
    ),
    "moments of BatchNorm": (lambda x: (x.mean((0, 1, 2)), x.var((0, 1, 2))), moments, (noise(4, 256, 256, 8),)),
    "global mean": (lambda x: x.mean((1, 2)), lambda x: x.mean((1, 2)), (noise(2, 128, 129, 32),)),
    "by_sums": (by_sums, neighbours, (noise(1, 181, 182, 16), noise(3, 3, 16, 1, seed=1))),
    "weight_gradient": (
        lambda x, grad: weight_gradient(x, grad, 1, 1, 0),
        lambda x, grad: np.einsum("bhwc,bhwk->ck", x, grad, optimize=True)[None, None],
        (noise(1, 181, 182, 16), noise(1, 181, 182, 3, seed=1)),
    ),
    "dense layer of many": (
        lambda x, kernel: jax.nn.relu(x @ kernel).sum(axis=1),
        lambda x, kernel: np.maximum(x @ kernel, 0).sum(axis=1),
        (noise(40_000, 27) - 0.5, noise(27, 3, seed=1) - 0.5),
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_at_full_size_are_those_of_float64(name: str) -> None:
    function, exact, arguments = SUMS[name]

    found, expected = jit(function)(*arguments), exact(*(argument.astype(np.float64) for argument in arguments))

    for value, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(value, right, rtol=3e-5, atol=3e-5 * np.abs(right).max())

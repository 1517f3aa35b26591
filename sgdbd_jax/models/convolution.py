"""The convolution of all layers, with algorithms of its own where the compiler's are slow.

On CPUs, XLA computes every 3x3 convolution from its nine taps, its weight gradient several times slower than that, and
the input gradient of a strided one on a map that is three quarters zeros. Here they become convolutions over rows with
a third to a half fewer multiplications (Winograd's F(m, 3), as in Lavin and Gray 2016, in one dimension), matrix
products over patches, and convolutions without stride, each where it pays, as measured. On GPUs, whose library chooses
for itself, everything is XLA's.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sgdbd_jax.compiling import OPTIONS

PATCHES = 2**17  # numbers gathered for one matrix product of the weight gradient, so that they stay in the cache
LARGE = 64 * 64  # pixels of a map from which photos are convolved one by one, for the same reason
NARROW = 4  # channels out, up to which the vector units would idle: one product for all taps fills them
WIDE = 128  # channels in and out, from which fewer multiplications are worth the additions
WIDE_READY = 64  # the same where filters were transformed beforehand, whatever the map's size
SMALL = 16 * 16  # pixels of a map below which they are not worth it, if filters are made in the call
MANY = 64 * 64  # pixels of a batch's maps from which the larger tile, with more filters to make, is worth it

# F(m, 3): m outputs of a filter of three taps from m + 2 products: out = A @ ((G @ taps) * (B @ pixels)).
# Interpolation at 0, 1, -1 (and 2, -2 for m = 4) and infinity; Lavin and Gray 2016, Sec. 4.1 and 4.3.
WINOGRAD = {
    2: (
        np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
        np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
        np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    ),
    4: (
        np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
        np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        np.array(
            [
                [4, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
    ),
}

_plain = contextvars.ContextVar("plain", default=False)


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution padded by half the kernel on each side, as torch's with `padding=k // 2`; no `jax.jvp` on CPUs.

    Args:
        x: `[B, H, W, C]` float.
        kernel: `[k, k, C, K]` float, k odd.
        stride: of rows and columns.

    Returns:
        `[B, ceil(H / stride), ceil(W / stride), K]` float; XLA's own to within 1e-5 of its largest value.
    """
    own = jax.default_backend() == "cpu" and not _plain.get() and kernel.shape[0] <= 3 and stride <= 2
    return _convolve(x, kernel, stride) if own else by_taps(x, kernel, stride)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """What is traced inside is XLA's own: what the rest is compared with. Beware of functions compiled before."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def tile(x: tuple[int, ...], kernel: tuple[int, ...], stride: int) -> int:
    """The m of F(m, 3) that is fastest for these shapes on a CPU; 0: none, taps one by one are."""
    batch, height, width, _ = x
    if stride != 1 or not wide(kernel) or height * width < SMALL:
        return 0
    return 4 if batch * height * width >= MANY else 2


def wide(kernel: tuple[int, ...], least: int = WIDE) -> bool:
    """Whether a kernel's shape is one for which fewer multiplications are worth the additions."""
    return kernel[0] == 3 and min(kernel[-2:]) >= least


def by_taps(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """`convolve` as XLA has it; here the kernel may also be `[1, 3, C, K]`."""
    pads = [(size // 2, size // 2) for size in kernel.shape[:2]]
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _forward_only(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    if kernel.shape[0] == 3 and stride == 2 and x.shape[-1] >= WIDE:
        return by_parity(x, kernel)
    if kernel.shape[0] == 3 and stride == 1 and kernel.shape[3] <= NARROW < kernel.shape[2]:
        return by_sums(x, kernel)
    outputs = tile(x.shape, kernel.shape, stride)
    return winograd(x, make_taps(kernel, outputs)) if outputs else by_taps(x, kernel, stride)


_convolve = jax.custom_vjp(_forward_only, nondiff_argnums=(2,))


def _forward(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _forward_only(x, kernel, stride), (x, kernel)


def _backward(stride: int, saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    if stride == 2 and kernel.shape[0] == 3:
        grad_x = input_gradient(kernel, grad)[:, : x.shape[1], : x.shape[2]]
    elif stride == 1:
        grad_x = _forward_only(grad, kernel[::-1, ::-1].swapaxes(2, 3), 1)
    else:
        (grad_x,) = jax.linear_transpose(lambda x: by_taps(x, kernel, stride), x)(grad)

    if min(kernel.shape[-2:]) < WIDE and OPTIONS:  # the compiler's own, faster than ours unless it is YNNPACK's
        (grad_kernel,) = jax.linear_transpose(lambda kernel: by_taps(x, kernel, stride), kernel)(grad)
        return grad_x, grad_kernel
    outputs = tile(x.shape, kernel.shape, stride)
    return grad_x, weight_gradient(x, grad, kernel.shape[0], stride, outputs)


_convolve.defvjp(_forward, _backward)


def by_parity(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The 3x3 convolution of stride 2 as one without stride for each parity of row and column.

    An output has its middle tap on an even pixel, its first and last on odd ones.

    Args:
        x: `[B, H, W, C]` float.
        kernel: `[3, 3, C, K]` float.

    Returns:
        `[B, ceil(H / 2), ceil(W / 2), K]` float.
    """
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    taps = (slice(1, 2), slice(None, None, 2))
    parts = [
        lax.conv_general_dilated(
            x[:, row::2, column::2],
            kernel[taps[row], taps[column]],
            (1, 1),
            ((row, 0), (column, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for row in (0, 1)
        for column in (0, 1)
    ]
    return sum(parts[1:], start=parts[0])


def by_sums(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The 3x3 convolution of stride 1 as one product of every pixel with all taps, and the sum of its neighbours'.

    Args:
        x: `[B, H, W, C]` float.
        kernel: `[3, 3, C, K]` float, K small.

    Returns:
        `[B, H, W, K]` float.
    """
    batch, height, width, channels = x.shape
    products = x.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    products = jnp.pad(products.reshape(batch, height, width, 3, 3, -1), ((0, 0), (1, 1), (1, 1)) + ((0, 0),) * 3)
    parts = [products[:, i : i + height, j : j + width, i, j] for i in range(3) for j in range(3)]
    return sum(parts[1:], start=parts[0])


def make_taps(kernel: jax.Array, outputs: int) -> tuple[jax.Array, ...]:
    """The filters of F(outputs, 3) over rows: `[3, 3, C, K]` to `outputs + 2` of `[1, 3, C, K]`."""
    return tuple(_combine(WINOGRAD[outputs][1], [kernel[i : i + 1] for i in range(3)]))


def winograd(x: jax.Array, taps: Sequence[jax.Array]) -> jax.Array:
    """The 3x3 convolution of stride 1 by F(m, 3) over the rows, and plain convolutions along them.

    Args:
        x: `[B, H, W, C]` float.
        taps: m + 2 of `[1, 3, C, K]` float, from `make_taps`.

    Returns:
        `[B, H, W, K]` float.
    """
    outputs = len(taps) - 2
    back = WINOGRAD[outputs][0]
    _, height, width, _ = x.shape
    short = -height % outputs
    x = jnp.pad(x, ((0, 0), (1, short + 1), (0, 0), (0, 0)))

    def convolved(x: jax.Array) -> jax.Array:
        products = [by_taps(*pair) for pair in zip(_transformed(x, outputs), taps)]
        rows = jnp.stack(_combine(back, products), axis=2)
        return rows.reshape(-1, height + short, width, taps[0].shape[-1])[:, :height]

    if height * width < LARGE:
        return convolved(x)
    return lax.map(lambda photo: convolved(photo[None])[0], x)


def _transformed(x: jax.Array, outputs: int) -> list[jax.Array]:
    """What the filters of F(m, 3) meet: rows padded by one, `[B, m N + 2, W, C]`, to m + 2 of `[B, N, W, C]`."""
    stop = x.shape[1] - outputs - 1
    return _combine(WINOGRAD[outputs][2], [x[:, i : i + stop : outputs] for i in range(outputs + 2)])


def _combine(matrix: np.ndarray, parts: list[jax.Array]) -> list[jax.Array]:
    """A product with a small matrix of mostly zeros and ones, written out."""

    def total(row: np.ndarray) -> jax.Array:
        terms = [part if weight == 1 else float(weight) * part for weight, part in zip(row, parts) if weight]
        return sum(terms[1:], start=terms[0])

    return [total(row) for row in matrix]


def weight_gradient(x: jax.Array, grad: jax.Array, size: int, stride: int, outputs: int) -> jax.Array:
    """The kernel's gradient, as matrix products over patches that are gathered a block of rows at a time.

    Args:
        x: `[B, H, W, C]` float, the convolution's input.
        grad: `[B, ceil(H / stride), ceil(W / stride), K]` float, the loss's derivative by its output.
        size: of the kernel, k.
        stride: of the convolution.
        outputs: m of F(m, 3), by whose transpose the products are fewer (k = 3, stride 1); 0: a product for each tap.

    Returns:
        `[k, k, C, K]` float.
    """
    batch, height, width, channels = x.shape
    _, out_height, out_width, features = grad.shape
    step = max(outputs, 1)
    rows = step * max(1, min(-(-out_height // step), PATCHES // (out_width * channels)))
    blocks = -(-out_height // rows)
    pad, reach = size // 2, (rows - 1) * stride + size  # rows of x that a block reads
    below = max(0, (blocks - 1) * rows * stride + reach - height - pad)
    grad = jnp.pad(grad, ((0, 0), (0, blocks * rows - out_height), (0, 0), (0, 0)))  # zeros add nothing
    x = jnp.pad(x, ((0, 0), (pad, below), (pad, pad), (0, 0)))

    def add(totals: list[jax.Array], number: jax.Array) -> tuple[list[jax.Array], None]:
        photo, row = number // blocks, number % blocks * rows
        block = lax.dynamic_slice(x, (photo, row * stride, 0, 0), (1, reach, *x.shape[2:]))
        out = lax.dynamic_slice(grad, (photo, row, 0, 0), (1, rows, out_width, features))
        columns = [block[:, :, j : j + (out_width - 1) * stride + 1 : stride] for j in range(size)]
        rows_of_taps = jnp.concatenate(columns, axis=-1)  # a pixel and its neighbours in the row
        if outputs:
            taps = _transformed(rows_of_taps, outputs)
            outs = _combine(WINOGRAD[outputs][0].T, [out[:, i::outputs] for i in range(outputs)])
        else:
            taps = [rows_of_taps[:, i : i + (rows - 1) * stride + 1 : stride] for i in range(size)]
            outs = [out] * size
        products = [a.reshape(-1, features).T @ b.reshape(-1, size * channels) for a, b in zip(outs, taps)]
        return [total + product for total, product in zip(totals, products)], None

    zeros = jnp.zeros((features, size * channels), x.dtype)
    totals, _ = lax.scan(add, [zeros] * (outputs + 2 if outputs else size), jnp.arange(batch * blocks))
    if outputs:
        totals = _combine(WINOGRAD[outputs][1].T, totals)
    return jnp.stack([total.reshape(features, size, channels).transpose(1, 2, 0) for total in totals])


def input_gradient(kernel: jax.Array, grad: jax.Array) -> jax.Array:
    """The input's gradient of a 3x3 convolution of stride 2, one convolution for each parity of row and column.

    An even pixel has met the kernel's middle tap alone; an odd one the last tap, and the first of the next output.

    Args:
        kernel: `[3, 3, C, K]` float.
        grad: `[B, H, W, K]` float, the loss's derivative by the output.

    Returns:
        `[B, 2H, 2W, C]` float.
    """
    taps = (slice(1, 2), slice(2, None, -2))
    swapped = kernel.swapaxes(2, 3)

    def phase(row: int, column: int) -> jax.Array:
        return lax.conv_general_dilated(
            grad,
            swapped[taps[row], taps[column]],
            (1, 1),
            ((0, row), (0, column)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    return interleave([phase(row, column) for row in (0, 1) for column in (0, 1)])


def interleave(quarters: list[jax.Array]) -> jax.Array:
    """The pixels of every 2x2 square, in reading order, as one map: four `[B, H, W, C]` to `[B, 2H, 2W, C]`."""
    batch, height, width, channels = quarters[0].shape
    rows = [jnp.stack(pair, axis=3) for pair in (quarters[:2], quarters[2:])]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, channels)

"""ImageNet's VGG16 from torchvision, Keras, NumPy and safetensors files, as the one file that our trunks start from.

Every network of ours takes RGB in [0, 1] and begins with `(x - mean) / std`. What the source's first layer expects
instead (BGR, 0 to 255, other means) is folded into `mean`, `std` and the order of the first kernel's input channels.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgdbd_jax.config import IMAGENET, InputNorm
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import file_sha256
from sgdbd_jax.models.vgg16 import BLOCKS, LAYERS
from sgdbd_jax.porting import formats
from sgdbd_jax.weights import FORMAT, load_weights, merge, reading_metadata, save_weights

KIND = "vgg16"  # of our own weight files
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Published:
    """A weight file on the web."""

    url: str
    sha256: str
    library: str  # that reads it

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


PUBLISHED = {
    "torchvision": Published(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "torch",
    ),
    "keras": Published(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "bfe5187d0a272bed55ba430631598124cff8e880b98d38c9e56c8d66032abdc1",
        "h5py",
    ),
}


@dataclass(frozen=True)
class SourceInput:
    """What a source's first convolution expects, told in our terms: mean and std of RGB in [0, 1]."""

    norm: InputNorm
    bgr: bool  # its kernel's input channels are blue, green, red


def _caffe(blue: float, green: float, red: float) -> SourceInput:
    """BGR, 0 to 255, minus a mean: Caffe's convention."""
    return SourceInput(InputNorm((red / 255, green / 255, blue / 255), (1 / 255, 1 / 255, 1 / 255)), bgr=True)


INPUTS = {
    "torchvision": SourceInput(InputNorm(*IMAGENET), bgr=False),
    "keras": _caffe(103.939, 116.779, 123.68),
    "hed": _caffe(104.00699, 116.66877, 122.67892),  # the edge detector HED's, Xie and Tu 2015
}

# Name tables: the source's name -> ours.
_PTH_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions among ReLUs and pools
_PTH_NAMES = {
    f"features.{index}.{theirs}": f"{layer}/{ours}"
    for index, layer in zip(_PTH_INDICES, LAYERS, strict=True)
    for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
}
_PTH_SKIPPED = r"classifier\.\d+\.(weight|bias)"
_KERAS_LAYERS = {f"block{layer[4]}_{layer[:4]}{layer[6]}": layer for layer in LAYERS}  # block1_conv2: conv1_2
_KERAS_NAMES = {
    f"{theirs}/{theirs}{tensor}": f"{layer}/{ours}"
    for theirs, layer in _KERAS_LAYERS.items()
    for tensor, ours in (("_W_1:0", "kernel"), ("_b_1:0", "bias"), ("/kernel:0", "kernel"), ("/bias:0", "bias"))
}
_KERAS_SKIPPED = r"(fc1|fc2|predictions)/.*"  # the dense layers of the file "with top"
_NOTHING = r"(?!)"


@dataclass(frozen=True)
class VGG16Weights:
    """The thirteen convolutions, and what to do to a photo first."""

    params: dict[str, Any]  # {"conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}, float32
    input: InputNorm
    half: bool  # whether the source was float16: the file is then written so, and loses nothing


def read_vgg16(path: str | os.PathLike, *, source_input: str | None = None) -> VGG16Weights:
    """Reads a VGG16 trunk from another program's file, or from ours.

    Args:
        path: `.pth` (torchvision's names), `.h5` (Keras's, either layout), or `.npz` or `.safetensors` with
            `conv1_1/kernel` (HWIO), `conv1_1/bias`, ... to `conv5_3/bias`.
        source_input: a name in `INPUTS`: what the weights expect of a photo. Without it, `.pth` is taken to be
            torchvision's and `.h5` Keras's; an `.npz` or another program's `.safetensors` says nothing of it, so it
            must be given; a file of ours says it, so it must not.

    Raises:
        UserError: no such file, damaged, of an unknown kind, names or shapes that are not VGG16's, or an input left
            open.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".pth", ".pt"):
        arrays = {name: formats.hwio(value) for name, value in formats.read_torch(path).items()}
        table, skipped, source_input = _PTH_NAMES, _PTH_SKIPPED, source_input or "torchvision"
    elif suffix in (".h5", ".hdf5"):
        arrays, table, skipped = formats.read_keras(path), _KERAS_NAMES, _KERAS_SKIPPED
        source_input = source_input or "keras"
    elif suffix == ".npz":
        arrays, table, skipped = formats.read_npz(path), {}, _NOTHING
    elif suffix == ".safetensors":
        arrays, metadata = formats.read_safetensors(path)
        if metadata.get("format") == FORMAT:
            return _reread(path, arrays, source_input)
        table, skipped = {}, _NOTHING
    else:
        raise UserError(f"{path}: not 'torchvision', 'keras', nor a .pth, .pt, .h5, .hdf5, .npz or .safetensors file")
    if source_input is None:
        raise UserError(
            f"{path}: the file does not say what input its weights expect; tell it with --input {'|'.join(INPUTS)}"
        )

    ours = formats.rename(arrays, table, skipped=skipped, where=str(path))
    params = _merge(ours, path)
    expects = INPUTS[source_input]
    if expects.bgr:
        params["conv1_1"]["kernel"] = np.ascontiguousarray(params["conv1_1"]["kernel"][:, :, ::-1])
    return VGG16Weights(params, expects.norm, _is_half(ours))


def save_vgg16(path: str | os.PathLike, weights: VGG16Weights, *, source: str | os.PathLike) -> Path:
    """Writes a trunk with its input normalisation; `source`, the file it was read from, is named with its SHA-256.

    Raises:
        UserError: the file cannot be written.
    """
    dtype = np.float16 if weights.half else np.float32
    params = {layer: {name: value.astype(dtype) for name, value in p.items()} for layer, p in weights.params.items()}
    metadata = {
        "kind": KIND,
        "mean": weights.input.mean,
        "std": weights.input.std,
        "source": Path(source).name,
        "sha256": file_sha256(source),
    }
    return save_weights(path, params, metadata)


def load_vgg16(path: str | os.PathLike) -> tuple[dict[str, Any], RGB, RGB]:
    """Reads a trunk written by `save_vgg16`.

    Returns:
        The parameters `{"conv1_1": {"kernel": [3, 3, 3, 64], "bias": [64]}, ...}`, float32, and the mean and the std
        of RGB in [0, 1] that a network starting from them must use.

    Raises:
        UserError: no such file, not ours, of another kind, or not VGG16's names and shapes.
    """
    tree, metadata = load_weights(path, kind=KIND)
    with reading_metadata(path):
        (r, g, b), (std_r, std_g, std_b) = metadata["mean"], metadata["std"]
    return _merge(tree, path), (r, g, b), (std_r, std_g, std_b)


def _reread(path: Path, arrays: formats.Arrays, source_input: str | None) -> VGG16Weights:
    if source_input is not None:
        raise UserError(f"{path}: was written by this program and says its own input; leave --input out")
    params, mean, std = load_vgg16(path)
    return VGG16Weights(params, InputNorm(mean, std), _is_half(arrays))


def _is_half(arrays: Mapping[str, np.ndarray]) -> bool:
    return all(value.dtype == np.float16 for value in arrays.values())


def _merge(tree: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    expected, channels = {}, 3
    for layer, features in (item for block in BLOCKS for item in block):
        expected[layer] = {
            "kernel": np.broadcast_to(np.float32(0), (3, 3, channels, features)),
            "bias": np.broadcast_to(np.float32(0), (features,)),
        }
        channels = features
    return merge(expected, tree, where=str(path))

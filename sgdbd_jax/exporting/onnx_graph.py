"""A generator as an ONNX graph, written node by node from its variables: standard operators, any number of any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from flax.traverse_util import flatten_dict
from onnx import TensorProto, helper, numpy_helper

from sgdbd_jax import __version__
from sgdbd_jax.config import GeneratorConfig, InputNorm
from sgdbd_jax.models import lite, vgg16
from sgdbd_jax.models.layers import HIGH_PASS, NORM_EPSILON

OPSET, IR_VERSION = 17, 8  # of 2022, which every run time of today reads
INPUT, OUTPUT = "photos", "masks"
NORM_LEAVES = ("scale", "bias", "mean", "var")


def onnx_model(
    config: GeneratorConfig, variables: Mapping[str, Any], *, multiple: int = 1, about: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """The model: `photos`, `[N, H, W, 3]` uint8 RGB, to `masks`, `[N, H, W]` float32 in [0, 1], 1 = in focus.

    BatchNorms stay nodes of their own, which run times fold: so float16 weights are in the file what they were before.

    Args:
        config: the generator's.
        variables: its `params` and, where it has BatchNorm, `batch_stats`; the graph makes float32 of what is float16.
        multiple: photos are reflected at their ends, in the graph, up to sides that are multiples of this, as
            `Detector` does it, and masks cut back; 1: they are not, and must have sides that the generator takes.
        about: the model's metadata.
    """
    graph = _Graph(variables)
    x = graph.reflected(INPUT, multiple) if multiple > 1 else INPUT
    x = graph.normalised(graph.add("Transpose", x, perm=(0, 3, 1, 2)), config.input)
    logits = (_lite if config.network == "lite" else _vgg16)(graph, config, x)
    if multiple > 1:
        ends = graph.add("Shape", INPUT, start=1, end=3)
        logits = graph.add("Slice", logits, graph.whole([0, 0]), ends, graph.whole([2, 3]))
    graph.add("Sigmoid", graph.add("Squeeze", logits, graph.whole([1])), output=OUTPUT)

    size = ("N", "H", "W")
    photos = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, (*size, 3))
    masks = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, size)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "generator", [photos], [masks], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sgdbd_jax",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(sorted((about or {}).items())))
    return model


class _Graph:
    """Nodes and constants, in the order in which they were added; maps are `[N, C, H, W]` float32, but for photos."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self._variables = flatten_dict(variables["params"], sep="/")
        self._variables |= flatten_dict(variables.get("batch_stats", {}), sep="/")

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node, and the name of what it gives."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: np.ndarray, name: str = "") -> str:
        """An array, as float32 where it is float16."""
        name = name or f"constant_{len(self.constants)}"
        stored = f"{name}/stored" if value.dtype == np.float16 else name
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), stored))
        return name if stored == name else self.add("Cast", stored, output=name, to=TensorProto.FLOAT)

    def whole(self, value: Any) -> str:
        """Whole numbers, as shapes and axes are."""
        return self.constant(np.array(value, np.int64))

    def reflected(self, photos: str, multiple: int) -> str:
        """`[N, H, W, 3]` with sides that are multiples, as `np.pad` reflects: as often as it must."""
        zero, one = self.whole(0), self.whole(1)
        for axis in (1, 2):
            size = self.add("Squeeze", self.add("Shape", photos, start=axis, end=axis + 1))
            more = self.add("Mod", self.add("Sub", zero, size), self.whole(multiple))
            places = self.add("Range", zero, self.add("Add", size, more), one)
            last = self.add("Sub", size, one)
            period = self.add("Max", self.add("Add", last, last), one)
            from_last = self.add("Sub", last, self.add("Mod", places, period))
            from_last = self.add("Max", from_last, self.add("Sub", zero, from_last))
            photos = self.add("Gather", photos, self.add("Sub", last, from_last), axis=axis)
        return photos

    def normalised(self, photos: str, norm: InputNorm) -> str:
        """uint8 `[N, 3, H, W]` as the network's input: in [0, 1], less the mean, by the deviation."""
        mean, std = (255 * np.array(value, np.float32).reshape(3, 1, 1) for value in (norm.mean, norm.std))
        floats = self.add("Cast", photos, to=TensorProto.FLOAT)
        return self.add("Div", self.add("Sub", floats, self.constant(mean)), self.constant(std))

    def has(self, name: str) -> bool:
        """Whether there is a layer of that name."""
        return f"{name}/kernel" in self._variables

    def conv(self, x: str, name: str, *, stride: int = 1, relu: bool = True) -> str:
        """The layer of that name, with the norm that the variables have for it."""
        kernel, bias = (self._variables[f"{name}/{leaf}"] for leaf in ("kernel", "bias"))
        kernel = kernel[None, None] if kernel.ndim == 2 else kernel  # of a dense layer
        side = kernel.shape[0]
        x = self.add(
            "Conv",
            x,
            self.constant(kernel.transpose(3, 2, 0, 1), f"{name}/kernel"),
            self.constant(bias, f"{name}/bias"),
            output=name,
            kernel_shape=(side, side),
            pads=(side // 2,) * 4,
            strides=(stride, stride),
        )
        x = self.norm(x, f"{name}_norm") if f"{name}_norm/scale" in self._variables else x
        return self.add("Relu", x) if relu else x

    def norm(self, x: str, name: str) -> str:
        """The BatchNorm of that name."""
        leaves = [self.constant(self._variables[f"{name}/{leaf}"], f"{name}/{leaf}") for leaf in NORM_LEAVES]
        return self.add("BatchNormalization", x, *leaves, output=name, epsilon=NORM_EPSILON)

    def doubled(self, x: str, *, align_corners: bool = False) -> str:
        """Bilinear doubling."""
        mode = "align_corners" if align_corners else "half_pixel"
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode=mode)

    def high_pass(self, x: str) -> str:
        """What tells the three channels from the mean of nine, the border repeated, as `models.layers.in_blocks`."""
        kernel = np.full((3, 1, 3, 3), -HIGH_PASS / 9, np.float32)
        kernel[:, 0, 1, 1] += HIGH_PASS
        padded = self.add("Pad", x, self.whole([0, 0, 1, 1, 0, 0, 1, 1]), mode="edge")
        return self.add("Conv", padded, self.constant(kernel), group=3, kernel_shape=(3, 3))


def _vgg16(graph: _Graph, config: GeneratorConfig, x: str) -> str:
    """`models.generator.Generator`: `[N, 3, H, W]` to logits, `[N, 1, H, W]`."""
    features = {}
    for index, block in enumerate(vgg16.BLOCKS):
        if index > 0:
            x = graph.add("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
        for name, _ in block:
            x = features[name] = graph.conv(x, f"trunk/{name}")
    for index, (convs, skip) in enumerate(zip(config.blocks, config.skips), start=1):
        x = graph.doubled(x, align_corners=config.align_corners)
        side = features[skip] if skip else ""
        if side and config.skip_norm:
            side = graph.norm(side, f"skip{index}_norm")
        if side and config.merge == "concat":
            x = graph.add("Concat", x, side, axis=1)
        for number in range(1, len(convs) + 1):
            x = graph.conv(x, f"block{index}_conv{number}")
        if side and config.merge == "add":
            x = graph.add("Add", x, side)
    return graph.conv(x, "head", relu=False)


def _lite(graph: _Graph, config: GeneratorConfig, x: str) -> str:
    """`models.lite.LiteGenerator`: `[N, 3, H, W]` to logits, `[N, 1, H, W]`."""
    blocks = graph.add("SpaceToDepth", graph.add("Concat", x, graph.high_pass(x), axis=1), blocksize=2)
    stem = x = graph.conv(blocks, "stem")
    features = []
    for number, (_, residuals) in enumerate(lite.STAGES, start=1):
        x = graph.conv(x, f"stage{number}_down", stride=2)
        for at in range(1, residuals + 1):
            inner = graph.conv(x, f"stage{number}_{at}a")
            x = graph.add("Relu", graph.add("Add", x, graph.conv(inner, f"stage{number}_{at}b", relu=False)))
        features.append(x)
    features[-1] = graph.add("Add", x, graph.conv(graph.add("GlobalAveragePool", x), "whole", relu=False))

    x = graph.conv(features.pop(), "side4")
    for number in (3, 2, 1):
        side = graph.conv(features.pop(), f"side{number}", relu=False)
        if graph.has(f"narrow{number}"):
            x = graph.conv(x, f"narrow{number}")
        x = graph.add("Relu", graph.add("Add", graph.doubled(x), side))
        x = graph.conv(x, f"join{number}")
    x = graph.conv(x, "narrow0")
    x = graph.conv(graph.add("Concat", graph.doubled(x), stem, axis=1), "join0")
    return graph.doubled(graph.conv(x, "head", relu=False))

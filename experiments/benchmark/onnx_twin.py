"""The detector by onnxruntime, from what PyTorch exports."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from experiments.benchmark.torch_twin import TorchDetector
from sgdbd_jax.config import GeneratorConfig


class OnnxDetector:
    """The generator in evaluation on the CPU: folded, of one shape, all cores, every optimisation of the graph.

    Args:
        config, variables: the generator's, as ours.
        shape: of the photos that it takes, `(B, H, W, 3)`; H and W multiples of what ours needs.
    """

    def __init__(self, config: GeneratorConfig, variables: Mapping[str, Any], shape: tuple[int, ...]) -> None:
        network = TorchDetector(config, variables, way="best").network
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "generator.onnx")
            export(_Masks(network).eval(), shape, path)
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, photos: np.ndarray) -> np.ndarray:
        """Masks, `[B, H, W]` float32 in [0, 1], of photos, `[B, H, W, 3]` uint8."""
        (masks,) = self._session.run(None, {"photos": photos})
        return masks


class _Masks(nn.Module):
    """Photos to masks, as a detector has them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> Tensor:
        return torch.sigmoid(self.network(photos.permute(0, 3, 1, 2).float() / 255)[:, 0])


def export(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Writes a network of uint8 `photos` as an ONNX file, constants included.

    By `torch.export`; the older way by TorchScript needs one package less (onnxscript), but is deprecated.
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    photos = torch.zeros(shape, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which has no part in this
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch's own use of itself
        torch.onnx.export(
            network, (photos,), path, input_names=["photos"], dynamo=True, external_data=False, verbose=False
        )

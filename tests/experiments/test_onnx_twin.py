"""onnxruntime's detector gives our masks."""

import numpy as np
import pytest
from twins import random_variables, small

from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.models.networks import make_generator

for module in ("torch", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[benchmark]'")
from experiments.benchmark import onnx_twin  # noqa: E402  (after the question whether it can be)


@pytest.mark.parametrize("preset", ["lite", "release"])
def test_masks_agree(preset):
    config, rng = small(preset).generator, np.random.default_rng(0)
    variables = random_variables(make_generator(config), 32, rng)
    photos = rng.integers(0, 256, (2, 32, 64, 3), np.uint8)
    expected = np.asarray(Detector(config, variables).detect(photos))
    masks = onnx_twin.OnnxDetector(config, variables, photos.shape)(photos)
    assert (masks.shape, masks.dtype) == ((2, 32, 64), np.float32)
    np.testing.assert_allclose(masks, expected, atol=1e-4)
    assert expected.std() > 0.01


def test_it_takes_all_cores_and_every_optimisation(monkeypatch):
    config = small("lite").generator
    variables = random_variables(make_generator(config), 32, np.random.default_rng(1))
    asked = []
    monkeypatch.setattr(onnx_twin, "export", lambda network, shape, path: None)
    monkeypatch.setattr(
        onnx_twin.onnxruntime, "InferenceSession", lambda path, options, providers: asked.append((options, providers))
    )
    monkeypatch.setattr(onnx_twin.os, "cpu_count", lambda: 7)
    onnx_twin.OnnxDetector(config, variables, (1, 32, 32, 3))
    ((options, providers),) = asked
    assert options.intra_op_num_threads == 7
    assert options.graph_optimization_level == onnx_twin.onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert providers == ["CPUExecutionProvider"]

"""The ONNX graph gives the detector's masks, of any size, and is made of what every run time knows."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_generators import CONFIG
from tiny_generators import random_variables as tiny_variables
from twins import random_variables, small

from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.exporting import check
from sgdbd_jax.models.networks import make_generator

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install -e '.[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[export]'")
from sgdbd_jax.exporting.exported import Exported  # noqa: E402  (after the question whether it can be)
from sgdbd_jax.exporting.onnx_graph import onnx_model  # noqa: E402


def detector(preset):
    config = small(preset).generator
    variables = random_variables(make_generator(config), 32, np.random.default_rng(0))
    return Detector(config, variables, work_size="native")


def run(data, photos):
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"photos": photos})[0]


@pytest.mark.parametrize("preset", ["lite", "self_trained", "release"])
def test_masks_are_the_detector_s(preset):
    """A light one; norms of skips that are concatenated; aligned corners, and skips that are added."""
    detect, rng = detector(preset), np.random.default_rng(1)
    data = Exported(detect, "onnx").data
    for shape in ((2, 40, 70, 3), (1, 5, 70, 3), (1, 1, 70, 3)):  # the second is reflected many times
        photos = rng.integers(0, 256, shape, np.uint8)
        expected, masks = detect(photos), run(data, photos)
        assert (masks.shape, masks.dtype) == (shape[:3], np.float32)
        np.testing.assert_allclose(masks, expected, atol=1e-5)
    assert detect(rng.integers(0, 256, (40, 70, 3), np.uint8)).std() > 0.01


def test_a_graph_that_pads_nothing_takes_the_network_s_own_sizes():
    detect, photos = detector("lite"), np.random.default_rng(1).integers(0, 256, (1, 64, 128, 3), np.uint8)
    model = onnx_model(detect.config, detect.variables)
    assert "Range" not in {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(run(model.SerializeToString(), photos), detect.detect(photos), atol=1e-5)


@pytest.mark.parametrize("preset", ["lite", "paper"])
def test_the_file_is_standard_and_says_what_goes_in_and_out(preset):
    model = onnx.load_from_string(Exported(detector(preset), "onnx", about={"mine": "1"}).data)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""}
    shared = {"Add", "BatchNormalization", "Cast", "Concat", "Conv", "Div", "Gather", "Max", "Mod", "Range", "Relu"}
    shared |= {"Resize", "Shape", "Sigmoid", "Slice", "Squeeze", "Sub", "Transpose"}
    own = {"GlobalAveragePool", "Pad", "SpaceToDepth"} if preset == "lite" else {"MaxPool"}
    assert {node.op_type for node in model.graph.node} <= shared | own
    (photos,), (masks,) = model.graph.input, model.graph.output
    sizes = [[dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in (photos, masks)]
    assert sizes == [["N", "H", "W", 3], ["N", "H", "W"]]
    assert photos.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    about = {each.key: each.value for each in model.metadata_props}
    assert "uint8 RGB" in about["photos"] and "1 = in focus" in about["masks"] and about["mine"] == "1"
    assert about["padding"].endswith(f"multiples of {64 if preset == 'lite' else 128} pixels")
    assert json.loads(about["weights"])["config"]["network"] == ("lite" if preset == "lite" else "vgg16")


def test_half_is_half_the_file_and_checked_against_the_same_weights(monkeypatch):
    monkeypatch.setattr(check, "SIZES", ((40, 70),))
    full, half = (Exported(detector("self_trained"), "onnx", precision=name) for name in ("float32", "float16"))
    assert 0.5 < len(half.data) / len(full.data) < 0.6
    assert half.check() < 1e-5


def test_the_lines_of_the_readme_make_a_mask(tmp_path, monkeypatch):
    """Of a photo whose left half is sharp noise, the right one plain; and that is the detector's mask."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    lines = readme.partition("```python onnx\n")[2].partition("```")[0]
    photo = np.full((64, 64, 3), 128, np.uint8)
    photo[:, :32] = np.random.default_rng(0).integers(0, 256, (64, 32, 1))
    monkeypatch.chdir(tmp_path)
    detect = Detector.load("lite", refine=False)
    Path("lite.onnx").write_bytes(Exported(detect, "onnx", precision="float16").data)
    Image.fromarray(photo).save("photo.jpg", quality=95)
    exec(compile(lines, "README.md", "exec"), {})
    mask = np.asarray(Image.open("photo.mask.png"))
    expected = 255 * detect("photo.jpg")
    assert mask.shape == (64, 64) and expected.std() > 80
    np.testing.assert_allclose(mask, expected, atol=1.1)


@pytest.mark.parametrize(
    ("work_size", "words"),
    [
        (320, "320: photos are resized to 320 x 320 pixels beforehand, whatever their shape"),
        ("max:64", "max:64: photos of more than 64 pixels on the longer side are reduced to 64 beforehand"),
        ("native", "native: photos keep their own size"),
    ],
)
def test_a_file_says_what_photos_are_to_be_brought_to(work_size, words):
    data = Exported(Detector(CONFIG, tiny_variables(), work_size=work_size), "onnx").data
    assert {each.key: each.value for each in onnx.load_from_string(data).metadata_props}["work_size"] == words

"""`python -m experiments.export` as it is used."""

import sys

import jax
import numpy as np
import pytest
from tiny_generators import CONFIG, random_variables, save_generator

from experiments import export
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.exporting import check


@pytest.fixture
def weights(tmp_path):
    return save_generator(tmp_path / "tiny.safetensors", random_variables())


@pytest.mark.parametrize(("format", "module"), [("onnx", "onnx"), ("stablehlo", "flatbuffers")])
def test_a_missing_package_is_named_with_its_extra(format, module, weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"export to {format}: needs {module}; pip install 'sgdbd_jax\[export\]'"):
        export.main(["--format", format, "--weights", str(weights), "--out", str(tmp_path / "model")])
    assert not (tmp_path / "model").exists()


def test_a_place_that_cannot_be_written_is_refused_before_the_weights_are_read(tmp_path):
    with pytest.raises(UserError, match="it is a folder"):
        export.main(["--format", "onnx", "--weights", "no.safetensors", "--out", str(tmp_path)])


def test_the_weights_are_not_written_over(weights, tmp_path):
    weights = weights.rename(tmp_path / "named otherwise")
    before = weights.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(weights)
    for out in (weights, link, tmp_path / "other.safetensors"):
        with pytest.raises(UserError, match="weights are kept there, and would be lost; name another file"):
            export.main(["--format", "onnx", "--weights", str(weights), "--out", str(out)])
    assert weights.read_bytes() == before


@pytest.mark.parametrize(("format", "module"), [("onnx", "onnxruntime"), ("stablehlo", "flatbuffers")])
def test_the_command_checks_the_file_that_it_writes(format, module, weights, tmp_path, capsys, monkeypatch):
    module = pytest.importorskip(module)
    monkeypatch.setattr(check, "SIZES", ((40, 70),))
    out = tmp_path / "new" / "tiny.model"
    assert export.main(["--format", format, "--weights", str(weights), "--out", str(out), "--half"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("masks of three sizes are a detector's of these weights, as float16, to ")
    assert last == f"{out}: {out.stat().st_size / 1e6:.1f} MB, from {weights}"
    photos = np.random.default_rng(0).integers(0, 256, (1, 40, 70, 3), np.uint8)
    if format == "onnx":
        session = module.InferenceSession(out, providers=["CPUExecutionProvider"])
        masks = session.run(None, {"photos": photos})[0]
    else:
        masks = jax.export.deserialize(bytearray(out.read_bytes())).call(photos)
    expected = Detector.load(weights, work_size="native")(photos)
    np.testing.assert_allclose(masks, expected, atol=0.02)  # for float16


def test_without_onnxruntime_the_file_is_written_and_said_to_be_unchecked(weights, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out = tmp_path / "tiny.onnx"
    assert export.main(["--format", "onnx", "--weights", str(weights), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert told.err == "warning: not checked; the check: needs onnxruntime; pip install 'sgdbd_jax[export]'\n"
    assert told.out.startswith(f"{out}: ") and out.exists()


@pytest.mark.parametrize("shift", [2e-4, np.nan])
def test_masks_that_differ_are_refused(shift):
    detect = Detector(CONFIG, random_variables(), work_size="native")
    with pytest.raises(UserError, match=r"masks of 160x96 pixels differ from Detector's by .*, more than 0\.0001"):
        check.check_program(lambda photos: detect(photos) + shift, detect)
    assert check.check_program(lambda photos: detect(photos) + np.float32(5e-5), detect) == pytest.approx(5e-5, rel=0.1)


def test_no_device_rounds_what_is_compared():
    """Such as NVIDIA's GPUs, which multiply in TF32 unless they are told."""
    told = []

    def masks(photos):
        told.append(jax.config.jax_default_matmul_precision)
        return np.zeros(photos.shape[:3], np.float32)

    assert check.check_program(masks, masks) == 0
    assert told == ["highest"] * 6


def test_the_photos_of_the_check_are_of_three_sizes_two_at_once():
    photos = check.photos_to_try()
    assert [each.shape for each in photos] == [(2, 96, 160, 3), (1, 131, 70, 3), (1, 40, 640, 3)]
    assert {each.dtype for each in photos} == {np.dtype(np.uint8)}
    for each in photos:  # noise on the left, none on the right
        steps = np.abs(np.diff(each.astype(int), axis=2)).mean(axis=(0, 1, 3))
        assert steps[:10].mean() > 10 * steps[-10:].mean()

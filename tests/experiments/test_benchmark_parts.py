"""What the benchmark's parts time, and what they ask of it."""

import time

import numpy as np
import pytest

from experiments.benchmark import measures, plan, report, sides
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO, LITE, RELEASE


def planned(config, **changes):
    return plan.Plan(
        **{"config": config, "twins": [], "rounds": 1, "step_rounds": 1, "sizes": [(320, 320)]}
        | {"batches": [1], "photos": 1, "names": 1}
        | changes
    )


def test_targets_are_for_the_release_and_the_light_network_alone():
    assert planned(RELEASE).target(1.5, 0.3) == 1.5
    assert planned(LITE).target(1.5, 0.3) == 0.3
    assert planned(LITE).target(1.5) is None
    assert planned(DEMO).target(1.5, 0.3) is None
    assert planned(replace(LITE, {"crop": 64})).target(1.5, 0.3) is None


class Idle:
    """A side that makes nothing, and takes a hundredth of a second, or ours twice that."""

    def __init__(self, who, make, *arguments):
        self.seconds = 0.02 if who == sides.OURS else 0.01

    def __call__(self):
        time.sleep(self.seconds)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


KNOWN = [report.Row("machine", "jax, float32 matrix product", 100.0, "GFLOP/s")]


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(measures, "Apart", Idle)
    for part in ("Detecting", "Fit"):
        monkeypatch.setattr(measures, part, type(part, (), {"of": lambda config: Counted()}))


class Counted:
    def operations(self, *size):
        return 1e9


def asked(rows):
    return {row.what: (row.at_least, row.met) for row in rows if "against" in row.what}


def test_the_light_network_must_predict_as_fast_as_onnxruntime_photo_by_photo(idle):
    sizes = [(320, 320), (683, 1024), (32, 48)]
    rows = measures.predict(planned(LITE, twins=["torch best"], onnx=True, sizes=sizes, batches=[1, 8]), KNOWN)
    found = asked(row for row in rows if "GPU" not in row.what)
    assert len(found) == 12
    for size in ("320x320", "1024x683"):
        assert found[f"ours against torch best, {size}, batch 1"] == (1.1, False)
        assert found[f"ours against onnxruntime, {size}, batch 1"] == (1.0, False)
    assert {limits for what, limits in found.items() if "batch 8" in what or "48x32" in what} == {(None, None)}


@pytest.mark.parametrize("has", [True, False])
def test_pytorch_fits_in_bfloat16_where_the_processor_does(idle, monkeypatch, has):
    monkeypatch.setattr(measures, "bfloat16_unit", lambda: has)
    rows = list(measures.fit(planned(LITE, twins=["torch release", "torch best"]), KNOWN))
    found, size = asked(rows), ", 320x320, batch 8"
    assert found.pop(f"ours against torch best{size}") == (1.0, False)
    assert found == {f"ours against torch bfloat16{size if has else ''}": (1.0, False if has else None)}
    notes = [row.note for row in rows if row.value is None]
    assert notes == ([] if has else ["no avx512_bf16 or amx_bf16 here"])


@pytest.mark.parametrize(
    ("flags", "has"), [("fpu avx512_bf16 avx", True), ("amx_bf16", True), ("avx512f amx_bf16x", False)]
)
def test_a_processor_s_flags_tell_whether_it_multiplies_in_bfloat16(monkeypatch, tmp_path, flags, has):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(sides, "CPUINFO", tmp_path / "cpuinfo")
    assert sides.bfloat16_unit() is has


def test_photos_are_reflected_up_to_what_the_network_takes():
    photos = sides.Detecting(LITE, {}).photos(2, (40, 96))
    assert photos.shape == (2, 64, 96, 3)
    np.testing.assert_array_equal(photos[:, 40:], photos[:, 15:39][:, ::-1])
    assert sides.Detecting(RELEASE, {}).photos(1, (40, 96)).shape == (1, 48, 96, 3)


def test_both_make_the_same_first_step_of_a_fit():
    pytest.importorskip("torch")
    sizes = {"generator.width": 0.05, "crop": 32, "photo_size": 32, "warm_batch": 2}
    fit = sides.Fit.of(replace(LITE, sizes))
    theirs = fit.torch_step("torch best")()
    assert float(fit.our_step()()["loss"]) == pytest.approx(theirs, rel=1e-3)

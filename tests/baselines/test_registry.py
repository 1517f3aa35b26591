"""The list of detectors: what it says of each, and how it gives what is there and what is not."""

import types

import numpy as np
import pytest

from sgdbd_jax.baselines import detectors, svd
from sgdbd_jax.baselines.detectors import BENCHMARKS, DETECTORS, Entry
from sgdbd_jax.detection.shipped import SHIPPED
from sgdbd_jax.errors import Unavailable

PHOTO = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
LEARNED = Entry(key="made_up", name="Made up", kind="baseline", needs="clear")


def test_the_order_is_that_of_table_3_then_ours_then_the_constants():
    table = ["svd", "dbdf", "srid", "ksfv", "ss", "dhcf", "hifst", "btbnet"]
    assert list(DETECTORS) == [*table, "lbp", "lite", "accurate", "game", "zeros", "ones"]
    assert {key for key, entry in DETECTORS.items() if entry.kind == "ours"} == set(SHIPPED)


def test_every_baseline_says_whence_it_is_and_how_far_to_trust_it():
    for key, entry in DETECTORS.items():
        assert entry.key == key and entry.label
        if entry.kind == "baseline":
            assert entry.source[-4:].isdecimal() and set("ABC") & set(entry.grade)
            assert ("supervised," in f"{entry.label}," and "un" not in entry.label) == (entry.needs == "masks")


def test_the_papers_numbers_are_a_pair_a_benchmark_but_for_lbp():
    for entry in DETECTORS.values():
        if entry.kind == "baseline":
            assert list(entry.paper) == ([] if entry.key == "lbp" else list(BENCHMARKS))
        for f_measure, mae in entry.paper.values():
            assert 0.4 < f_measure < 0.9 and 0.1 < mae < 0.6
    assert DETECTORS["btbnet"].paper == {"CUHK": (0.861, 0.113), "DUT": (0.767, 0.197)}


def test_a_detector_that_learns_nothing_is_its_modules_function():
    assert DETECTORS["svd"].weights() is None
    assert DETECTORS["svd"].detector(None) is svd.detect


@pytest.mark.parametrize(("key", "level"), [("zeros", 0), ("ones", 1)])
def test_constant_masks_are_as_large_as_the_photo(key, level):
    found = DETECTORS[key].detector(None)(PHOTO)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.full((24, 32), level))


def test_what_is_not_in_this_version_is_said():
    with pytest.raises(Unavailable, match="made_up: is not in this version"):
        LEARNED.detector(None)


def test_a_module_that_lacks_another_is_no_missing_detector(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr(detectors.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="other"):
        LEARNED.module()


def test_without_shipped_weights_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(detectors.importlib, "import_module", lambda name: types.ModuleType(name))
    with pytest.raises(Unavailable, match="made_up: no weights are shipped; --train made_up makes some"):
        LEARNED.weights()


def test_what_was_learned_is_read_once_from_the_file_that_is_named(monkeypatch, tmp_path):
    module, paths = types.ModuleType("made_up"), []
    module.read = lambda path: paths.append(path) or {"level": 0.25}
    module.detect = lambda photo, learned: np.full(photo.shape[:2], learned["level"], np.float32)
    monkeypatch.setattr(detectors.importlib, "import_module", lambda name: module)
    detect = LEARNED.detector(tmp_path / "made_up.safetensors")
    assert detect(PHOTO)[0, 0] == detect(PHOTO)[1, 1] == 0.25
    assert paths == [tmp_path / "made_up.safetensors"]


def test_the_code_of_a_detector_is_its_module_and_what_that_imports():
    """But not what reads photos, for a map is of their pixels; nor what carries a training through."""
    found = detectors._imported("sgdbd_jax.baselines.ksfv")
    assert {"sgdbd_jax.baselines.maps", "sgdbd_jax.baselines.labelled", "sgdbd_jax.data.blur"} <= found.keys()
    assert not {"sgdbd_jax.data.photos", "sgdbd_jax.baselines.hifst"} & found.keys()
    assert not {"sgdbd_jax.data.png", "sgdbd_jax.training.run"} & detectors._imported("sgdbd_jax.baselines.dhcf").keys()
    assert len({DETECTORS[key].code() for key in ("svd", "lbp", "lite")}) == 3


def test_words_are_no_code(monkeypatch, tmp_path):
    path = tmp_path / "made_up.py"
    spec = types.SimpleNamespace(origin=str(path))
    monkeypatch.setattr(detectors.importlib.util, "find_spec", lambda name: spec)
    digests = []
    for text in ('"""Words."""\nx = 1\n', '"""Others."""\n# more\nx = 1\n', "x = 2\n"):
        path.write_text(text)
        digests.append(LEARNED.code())
    assert digests[0] == digests[1] != digests[2]

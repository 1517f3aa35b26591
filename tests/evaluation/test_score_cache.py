"""Scores are measured once, and again as soon as anything that decides them is another."""

import json
import re

import cv2
import numpy as np
import pytest

from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation import score_cache
from sgdbd_jax.evaluation.score_cache import ScoreCache, conditions
from sgdbd_jax.evaluation.weight_scores import MEASURES, REFINEMENTS, SIZES


def photo_set(photo=None, mask=None):
    photo = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) if photo is None else photo
    return PhotoSet(("a.png",), [photo], [np.zeros((2, 3), np.uint8) if mask is None else mask])


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "generator.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def measured(monkeypatch):
    """The contents of the weight files that were measured; every score is how many there were."""
    contents = []

    def score_weights(weights, photos, *, progress=None):
        contents.append(weights.read_bytes())
        score = dict.fromkeys(MEASURES - {"correlation"}, len(contents) + 0.1) | {"correlation": None}
        return {(size, how): score for size in SIZES for how in REFINEMENTS}

    monkeypatch.setattr(score_cache, "score_weights", score_weights)
    return contents


def test_equal_conditions_have_one_digest():
    assert conditions(photo_set()) == conditions(photo_set())


@pytest.mark.parametrize(
    "photos",
    [
        photo_set(photo=np.arange(1, 19, dtype=np.uint8).reshape(2, 3, 3)),
        photo_set(photo=np.arange(18, dtype=np.uint8).reshape(3, 2, 3)),
        photo_set(mask=np.array([[0, 0, 0], [0, 0, 1]], np.uint8)),
        photo_set(mask=np.zeros((3, 2), np.uint8)),
    ],
)
def test_another_pixel_or_shape_is_another_condition(photos):
    assert conditions(photos) != conditions(photo_set())


@pytest.mark.parametrize("what", ["library", "machine", "module"])
def test_another_program_or_machine_is_another_condition(what, tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr("sgdbd_jax.__file__", str(tmp_path / "__init__.py"))  # a package of one file
    before = conditions(photo_set())
    if what == "library":
        monkeypatch.setattr(cv2, "__version__", "0.0")
    elif what == "machine":
        monkeypatch.setattr(score_cache, "machine", lambda: "another")
    else:
        (tmp_path / "deeper").mkdir()
        (tmp_path / "deeper" / "module.py").write_text("pass\n")
    assert conditions(photo_set()) != before


def test_a_file_is_measured_once(weights, measured, tmp_path):
    first = ScoreCache(photo_set(), tmp_path / "scores").of(weights, label="a")
    assert ScoreCache(photo_set(), tmp_path / "scores").of(weights, label="b") == first
    assert measured == [b"weights"]


def test_other_weights_or_conditions_are_measured(weights, measured, tmp_path, monkeypatch):
    cache = ScoreCache(photo_set(), tmp_path / "scores")
    cache.of(weights, label="a")
    weights.write_bytes(b"others")
    assert cache.of(weights, label="b")["own", "none"]["mae"] == 2.1
    monkeypatch.setattr(score_cache, "conditions", lambda photos: "others")
    ScoreCache(photo_set(), tmp_path / "scores").of(weights, label="c")
    assert measured == [b"weights", b"others", b"others"]


@pytest.mark.parametrize("damage", ["{", "[]", "{}", "no scores", "no measure", "of another"])
def test_kept_scores_that_are_damaged_are_measured_again(damage, weights, measured, tmp_path):
    cache = ScoreCache(photo_set(), tmp_path / "scores")
    cache.of(weights, label="a")
    (path,) = (tmp_path / "scores").iterdir()
    whole = json.loads(path.read_text())
    if damage == "no scores":
        whole["scores"]["own"] = {}
    elif damage == "no measure":
        del whole["scores"]["320"]["cut"]["seconds"]
    elif damage == "of another":
        whole["key"] = whole["key"][:16] + 48 * "0"
    path.write_text(damage if damage in ("{", "[]", "{}") else json.dumps(whole))
    with pytest.warns(UserWarning, match=re.escape(f"{path}: cannot be used; b is scored again")):
        assert cache.of(weights, label="b")["own", "none"]["mae"] == 2.1
    assert cache.of(weights, label="c")["own", "none"]["mae"] == 2.1


def test_weights_that_a_training_replaces_meanwhile_are_not_mistaken(weights, measured, tmp_path, monkeypatch):
    cache, score_weights = ScoreCache(photo_set(), tmp_path / "scores"), score_cache.score_weights

    def replace_first(path, *args, **options):
        path.write_bytes(b"newer")
        return score_weights(path, *args, **options)

    monkeypatch.setattr(score_cache, "score_weights", replace_first)
    cache.of(weights, label="a")
    weights.write_bytes(b"weights")
    monkeypatch.setattr(score_cache, "score_weights", score_weights)
    cache.of(weights, label="b")
    assert measured == [b"newer", b"weights"]


def test_scores_that_cannot_be_kept_are_still_there(weights, measured, tmp_path, monkeypatch):
    def refuse(path, data):
        raise UserError(f"{path}: cannot be written (full)")

    monkeypatch.setattr(score_cache, "write_atomically", refuse)
    with pytest.warns(UserWarning, match=r"cannot be written \(full\); a will be scored anew next time"):
        scores = ScoreCache(photo_set(), tmp_path / "scores").of(weights, label="a")
    assert scores["320", "cut"]["mae"] == 1.1


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.scores: cannot be made \("):
        ScoreCache(photo_set(), tmp_path / "file" / "scores")


def test_a_file_that_is_not_there_is_refused(measured, tmp_path):
    with pytest.raises(UserError, match=r"none: cannot be read \(No such file"):
        ScoreCache(photo_set(), tmp_path / "scores").of(tmp_path / "none", label="a")

"""Scores are measured once, and again as soon as anything that decides them is another."""

import json

import cv2
import numpy as np
import pytest

from sgdbd_jax.cli import compiled
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation import kept as scoring
from sgdbd_jax.evaluation.kept import MEASURES, REFINEMENTS, SIZES, Scoring, conditions


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
    """The labels of what was measured; every score is how many there were."""
    labels = []

    def measure(weights, photos, *, label):
        labels.append(label)
        score = dict.fromkeys(MEASURES - {"correlation"}, len(labels) + 0.1) | {"correlation": None}
        return {(size, how): score for size in SIZES for how in REFINEMENTS}

    monkeypatch.setattr(scoring, "measure", measure)
    return labels


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


@pytest.mark.parametrize("what", ["library", "machine", "module", "scoring"])
def test_another_program_or_machine_is_another_condition(what, tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr("sgdbd_jax.__file__", str(tmp_path / "__init__.py"))  # a package of one file
    before = conditions(photo_set())
    if what == "library":
        monkeypatch.setattr(cv2, "__version__", "0.0")
    elif what == "machine":
        monkeypatch.setattr(compiled, "machine", lambda: "another")
    elif what == "module":
        (tmp_path / "deeper").mkdir()
        (tmp_path / "deeper" / "module.py").write_text("pass\n")
    else:
        (tmp_path / "scoring").write_text("pass\n")
        monkeypatch.setattr(scoring, "__file__", str(tmp_path / "scoring"))
    assert conditions(photo_set()) != before


def test_a_file_is_measured_once(weights, measured, tmp_path):
    first = Scoring(photo_set(), tmp_path / "scores").of(weights, label="a")
    assert Scoring(photo_set(), tmp_path / "scores").of(weights, label="b") == first
    assert measured == ["a"]


def test_other_weights_or_conditions_are_measured(weights, measured, tmp_path, monkeypatch):
    kept = Scoring(photo_set(), tmp_path / "scores")
    kept.of(weights, label="a")
    weights.write_bytes(b"others")
    assert kept.of(weights, label="b")["own", "none"]["mae"] == 2.1
    monkeypatch.setattr(scoring, "conditions", lambda photos: "others")
    Scoring(photo_set(), tmp_path / "scores").of(weights, label="c")
    assert measured == ["a", "b", "c"]


@pytest.mark.parametrize("damage", ["{", "[]", "{}", "no scores", "no measure", "of another"])
def test_kept_scores_that_are_damaged_are_measured_again(damage, weights, measured, tmp_path, capsys):
    kept = Scoring(photo_set(), tmp_path / "scores")
    kept.of(weights, label="a")
    (path,) = (tmp_path / "scores").iterdir()
    whole = json.loads(path.read_text())
    if damage == "no scores":
        whole["scores"]["own"] = {}
    elif damage == "no measure":
        del whole["scores"]["320"]["cut"]["seconds"]
    elif damage == "of another":
        whole["key"] = whole["key"][:16] + 48 * "0"
    path.write_text(damage if damage in ("{", "[]", "{}") else json.dumps(whole))
    assert kept.of(weights, label="b")["own", "none"]["mae"] == 2.1
    assert capsys.readouterr().err == f"{path}: cannot be used; b is scored again\n"
    assert kept.of(weights, label="c")["own", "none"]["mae"] == 2.1


def test_weights_that_a_training_replaces_meanwhile_are_not_mistaken(weights, measured, tmp_path, monkeypatch):
    kept, measure = Scoring(photo_set(), tmp_path / "scores"), scoring.measure

    def replaced(path, *args, **options):
        path.write_bytes(b"newer")
        return measure(path, *args, **options)

    monkeypatch.setattr(scoring, "measure", replaced)
    kept.of(weights, label="a")
    weights.write_bytes(b"weights")
    kept.of(weights, label="b")
    assert measured == ["a", "b"]


def test_scores_that_cannot_be_kept_are_still_there(weights, measured, tmp_path, monkeypatch, capsys):
    def refuse(path, data):
        raise UserError(f"{path}: cannot be written (full)")

    monkeypatch.setattr("sgdbd_jax.weights.write_atomically", refuse)
    assert Scoring(photo_set(), tmp_path / "scores").of(weights, label="a")["320", "cut"]["mae"] == 1.1
    assert "cannot be written (full); a will be scored anew next time" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.scores: cannot be made \("):
        Scoring(photo_set(), tmp_path / "file" / "scores")


def test_a_file_that_is_not_there_is_refused(measured, tmp_path):
    with pytest.raises(UserError, match=r"none: cannot be read \(No such file"):
        Scoring(photo_set(), tmp_path / "scores").of(tmp_path / "none", label="a")

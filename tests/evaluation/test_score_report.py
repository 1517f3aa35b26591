"""The files of an evaluation, whatever the names in them."""

import csv

import numpy as np

from sgdbd_jax.evaluation.report import write_report
from sgdbd_jax.evaluation.scoring import score

HALF = np.array([[1, 1, 0, 0]], np.float32)


def test_names_that_are_no_unicode_or_read_like_formulas_cost_no_scores(tmp_path):
    images, label = ["\udcff.jpg", "a, b\n.jpg"], "trained $\\on$ \udcff_^"
    files = write_report(tmp_path, score([(HALF, HALF)] * 2), images=images, label=label)
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    with (tmp_path / "per_image.csv").open(newline="", encoding="utf-8") as file:
        assert [row["image"] for row in csv.DictReader(file)] == [r"\udcff.jpg", "a, b\n.jpg"]

"""Pictures as files, and those of a run: every pixel where it belongs, every metric in its panel."""

import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from sgdbd_jax.pictures import GAP, OPENCV_SIDE, TITLE, learning_curve, mask_png, png, sample_grid


def read(data):
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_a_picture_loses_nothing_as_a_file_however_small_it_is_made():
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    for pixels, mode in (noise, "RGBA"), (noise[..., :3].copy(), "RGB"), (noise[..., 0].copy(), "L"):
        for picture in pixels, Image.fromarray(pixels):
            for level in 0, 1, 6, 9:
                with Image.open(io.BytesIO(png(picture, compress_level=level))) as back:
                    assert (back.format, back.mode) == ("PNG", mode)
                    np.testing.assert_array_equal(back, pixels)


def written(mask):
    with Image.open(io.BytesIO(mask_png(mask))) as back:
        assert (back.format, back.mode) == ("PNG", "L")
        np.testing.assert_array_equal(back, mask)


@pytest.mark.parametrize("shape", [(20, 30), (1, OPENCV_SIDE), (2, OPENCV_SIDE + 1), (OPENCV_SIDE + 1, 2)])
def test_a_mask_of_any_shape_is_written_in_silence(shape, capfd):
    written(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    assert capfd.readouterr() == ("", "")


def test_a_mask_that_opencv_refuses_is_written_all_the_same(monkeypatch):
    monkeypatch.setattr("cv2.imencode", lambda *_: (False, None))
    written(np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8))


def cell(picture, row, column, height, width):
    top, left = TITLE + GAP + row * (height + GAP), GAP + column * (width + GAP)
    return picture[top : top + height, left : left + width]


def test_a_row_shows_a_photo_and_a_column_a_kind_of_picture():
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (3, 130, 150, 3), np.uint8)
    mask = rng.random((3, 130, 150, 1), np.float32)
    truth = np.where(rng.random((3, 130, 150)) < 0.5, 0, 255).astype(np.uint8)
    picture = read(sample_grid({"source": source, "mask": mask, "truth": truth}))
    assert picture.shape == (TITLE + GAP + 3 * (130 + GAP), GAP + 3 * (150 + GAP), 3)
    for row in range(3):
        np.testing.assert_array_equal(cell(picture, row, 0, 130, 150), source[row])
        np.testing.assert_array_equal(cell(picture, row, 1, 130, 150), np.rint(255 * mask[row]).repeat(3, axis=-1))
        np.testing.assert_array_equal(cell(picture, row, 2, 130, 150), truth[row][..., None].repeat(3, axis=-1))


def test_small_photos_are_shown_enlarged_pixel_by_pixel():
    source = np.random.default_rng(0).integers(0, 256, (1, 16, 20, 3), np.uint8)
    picture = read(sample_grid({"source": source}))
    zoom = (picture.shape[0] - TITLE - 2 * GAP) // 16
    assert zoom > 4
    np.testing.assert_array_equal(
        cell(picture, 0, 0, zoom * 16, zoom * 20), source[0].repeat(zoom, axis=0).repeat(zoom, axis=1)
    )


def test_a_title_stands_above_its_column():
    black = np.zeros((1, 128, 128), np.float32)
    first, second = (read(sample_grid(dict.fromkeys(names, black))) for names in (("mask",), ("mask", "truth")))
    assert (first[:TITLE] < 255).any()
    np.testing.assert_array_equal(first[:TITLE, :128], second[:TITLE, :128])
    assert (second[:TITLE, 128 + 2 * GAP :] < 255).any()


def test_values_beyond_black_and_white_are_cut():
    picture = read(sample_grid({"mask": np.full((1, 128, 128), [[-0.5] * 64 + [1.5] * 64], np.float32)}))
    np.testing.assert_array_equal(cell(picture, 0, 0, 128, 128)[0, [0, 63, 64, 127], 0], [0, 0, 255, 255])


ROWS = [
    {"stage": "game", "step": 10, "coverage": 0.5, "g_loss": 2.0, "seconds_per_step": 9.0},
    {"stage": "game", "step": 20, "coverage": 0.4, "g_loss": 1.0, "validation_f_measure": 0.6},
]


@pytest.fixture
def plotted(monkeypatch):
    """What is drawn: metric -> (panel, its points)."""
    drawn, plot = {}, Axes.plot

    def remember(axes, steps, values, *, label, **style):
        drawn[label] = (axes, list(zip(steps, values)))
        return plot(axes, steps, values, label=label, **style)

    monkeypatch.setattr(Axes, "plot", remember)
    return drawn


def test_a_learning_curve_draws_each_metric_over_its_steps(plotted):
    assert read(learning_curve(ROWS, title="seed 0")).shape == (650, 1000, 3)
    assert {name: points for name, (_, points) in plotted.items()} == {
        "validation_f_measure": [(20, 0.6)],
        "coverage": [(10, 0.5), (20, 0.4)],
        "g_loss": [(10, 2.0), (20, 1.0)],
    }
    assert {name: axes.get_title() for name, (axes, _) in plotted.items()} == {
        "validation_f_measure": "validation",
        "coverage": "mask",
        "g_loss": "losses",
    }
    assert len(plotted["coverage"][0].figure.axes) == 3  # no panel of discriminators, for there is nothing of them


def test_the_stages_of_a_run_follow_each_other(plotted):
    rows = [{"stage": "warm", "step": step, "coverage": 0.1 * step} for step in (1, 2)] + ROWS
    learning_curve([*rows, {"stage": "taught", "step": 5, "coverage": 0.9}])
    panel, points = plotted["coverage"]
    assert points == [(1, 0.1), (2, 0.2), (12, 0.5), (22, 0.4), (27, 0.9)]
    assert [text.get_text().strip() for text in panel.texts] == ["warm", "game", "taught"]


def test_equal_logs_make_equal_pictures_and_others_do_not():
    assert learning_curve(ROWS) == learning_curve(ROWS)
    assert learning_curve(ROWS) != learning_curve(ROWS[:1])


def test_a_run_of_no_steps_has_an_empty_learning_curve(plotted):
    assert read(learning_curve([])).shape == (650, 1000, 3)
    assert plotted == {}

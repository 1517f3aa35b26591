"""The whole command: masks of a generator that says 0.75 of every pixel, names, failures."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_generators import constant_variables, save_generator

from experiments.predict import main, overlay
from sgdbd_jax.errors import UserError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_generator(tmp_path_factory.mktemp("weights") / "g.safetensors", constant_variables(0.75))


@pytest.fixture
def predict(weights, tmp_path):
    """Calls the command with small networks and returns its exit code."""

    def call(*arguments):
        fixed = ["--weights", weights, "--work_size", "16", "--out", tmp_path / "out"]
        return main([str(argument) for argument in (*arguments, *fixed)])

    return call


def save(path, height=6, width=9, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(path, **options)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_mask_is_8_bit_grey_at_the_displayed_size(predict, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by a quarter
    assert predict(save(tmp_path / "turned.jpg", height=6, width=9, exif=exif)) == 0
    with Image.open(tmp_path / "out" / "turned.mask.png") as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (6, 9))
        np.testing.assert_array_equal(np.asarray(mask), 191)  # 0.75 of 255: white = in focus


def test_native_works_on_photos_as_they_are(weights, tmp_path):
    photo = save(tmp_path / "a.png", height=7, width=18)
    assert main([str(photo), "--weights", str(weights), "--work_size", "native", "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "a.mask.png") as mask:
        assert mask.size == (18, 7)


def test_folders_and_files_are_taken_once_and_results_are_not_photos(predict, tmp_path):
    photos = tmp_path / "photos"
    first = save(photos / "a.jpg")
    for name in ("b.PNG", "a.mask.png", "a.overlay.png"):
        save(photos / name)
    assert predict(photos, first, tmp_path / "photos" / ".." / "photos" / "a.jpg") == 0
    assert names(tmp_path / "out") == ["a.mask.png", "b.mask.png"]


def test_photos_of_one_name_do_not_overwrite_each_other(predict, tmp_path, capsys):
    folders = [tmp_path / "one", tmp_path / "two"]
    save(folders[0] / "a.jpg", height=3)
    save(folders[0] / "A.png", height=4)
    save(folders[1] / "a.jpg", height=5)
    assert predict(*folders) == 0
    heights = {}
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as mask:
            heights[path.name] = mask.height
    assert heights == {"A.mask.png": 4, "a-2.mask.png": 3, "a-3.mask.png": 5}
    told = capsys.readouterr().err
    assert f"{folders[0] / 'a.jpg'}: its mask is a-2.mask.png" in told
    assert f"{folders[1] / 'a.jpg'}: its mask is a-3.mask.png" in told


def test_a_bad_file_never_stops_the_rest(predict, tmp_path, capsys):
    photos = tmp_path / "photos"
    save(photos / "a.jpg")
    (photos / "b.jpg").write_bytes((photos / "a.jpg").read_bytes()[:200])
    save(photos / "c.jpg")
    assert predict(tmp_path / "nowhere", photos) == 1
    assert names(tmp_path / "out") == ["a.mask.png", "c.mask.png"]
    told = capsys.readouterr()
    assert "nowhere: no such file or folder" in told.err
    assert "b.jpg" in told.err
    assert "2 masks" in told.out
    assert "2 photos or paths failed" in told.out


def test_nothing_usable_is_code_2(predict, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not a photo")
    assert predict(tmp_path / "a.jpg") == 2
    assert predict(tmp_path / "nowhere") == 2
    save(tmp_path / "results" / "a.mask.png")
    with pytest.raises(UserError, match=r"only results"):
        predict(tmp_path / "results")


def test_an_overlay_shows_the_photo_where_in_focus_and_hides_it_elsewhere(predict, tmp_path):
    photo = np.full((1, 2, 3), 200, np.uint8)
    shown = overlay(photo, np.array([[1.0, 0.0]], np.float32))
    np.testing.assert_allclose(shown[0, 0], 200)
    np.testing.assert_allclose(shown[0, 1], [0.35 * 200 + 0.65 * 90, 0.35 * 200, 0.35 * 200 + 0.65 * 160], rtol=1e-6)
    predict(save(tmp_path / "a.png"), "--overlay")
    assert names(tmp_path / "out") == ["a.mask.png", "a.overlay.png"]


def test_without_weights_the_shipped_ones_are_taken(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("sgdbd_jax.detector.shipped", lambda: weights)
    assert main([str(save(tmp_path / "a.png")), "--out", str(tmp_path / "out"), "--work_size", "16"]) == 0
    assert names(tmp_path / "out") == ["a.mask.png"]


@pytest.mark.parametrize("size", ["0", "-3", "big"])
def test_a_work_size_without_meaning_is_refused(size, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path), "--out", str(tmp_path), "--work_size", size])
    assert end.value.code == 2
    assert "--work_size" in capsys.readouterr().err


def test_wrong_weights_end_the_process_with_one_line_and_code_2(tmp_path):
    photo = save(tmp_path / "a.png")
    command = [sys.executable, "-m", "experiments.predict", str(photo), "--weights", str(photo), "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {photo}: not a readable safetensors file")
    assert ended.stderr.count("\n") == 1
    assert names(tmp_path) == ["a.png"]

"""The whole command: what a stack gets, what is said of photos that do not fit, and the measurement."""

import csv

import numpy as np
import pytest
from PIL import Image
from tiny_generators import constant_variables, save_generator

from experiments.stack import main
from sgdbd_jax.errors import UserError

RNG = np.random.default_rng(0)
SCENE = np.kron(RNG.integers(0, 256, (24, 32, 3)), np.ones((4, 4, 1))).astype(np.uint8)  # 96 x 128, of blocks
SCENE = np.clip(SCENE + RNG.normal(0, 30, SCENE.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def run(weights, tmp_path):
    def call(*arguments):
        out = [] if "--pairs" in arguments or "--out" in arguments else ["--out", tmp_path / "out"]
        fixed = ["--weights", weights, "--work_size", "16", *out]
        return main([str(argument) for argument in (*fixed, *arguments)])

    return call


def save(path, photo):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path)
    return path


def focused(left):
    soft = np.asarray(Image.fromarray(SCENE).resize((32, 24)).resize((128, 96)))
    parts = (SCENE, soft) if left else (soft, SCENE)
    return np.hstack([parts[0][:, :64], parts[1][:, 64:]])


def opened(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_stack_gets_its_picture_its_index_and_a_row_a_photo(run, tmp_path, capsys):
    for name, left in (("a.png", True), ("b.png", False)):
        save(tmp_path / "stack" / name, focused(left))
    assert run(tmp_path / "stack") == 0
    out = tmp_path / "out"
    index = opened(out / "index.png")
    assert index.dtype == np.uint8 and set(np.unique(index)) == {1, 2}
    assert (index[:, :58] == 1).mean() > 0.95 and (index[:, 70:] == 2).mean() > 0.95
    whole = opened(out / "all_in_focus.png").astype(int)
    assert np.abs(whole - SCENE).mean() < 3 < np.abs(focused(True).astype(int) - SCENE).mean()
    assert opened(out / "index_colours.png").shape == (96, 128, 3)
    with (out / "stack.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["number"], row["path"].rpartition("/")[2]) for row in rows] == [
        ("0", ""),
        ("1", "a.png"),
        ("2", "b.png"),
    ]
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=0.001)
    printed = capsys.readouterr()
    assert "2 photos in " in printed.out and "in 0% of it none is in focus" in printed.out
    assert "warning" not in printed.err


def test_the_table_takes_any_name_as_a_report_does(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = "=1+2.png", "\udcff.png"
    for name, left in zip(names, (True, False)):
        save(tmp_path / name, focused(left))
    assert run(*names) == 0
    with (tmp_path / "out" / "stack.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["", "'=1+2.png", "\\udcff.png"]


def test_where_no_photo_is_in_focus_is_said(weights, tmp_path, capsys):
    low = save_generator(tmp_path / "low.safetensors", constant_variables(0.25))
    photos = [save(tmp_path / name, focused(left)) for name, left in (("a.png", True), ("b.png", False))]
    fixed = ["--weights", low, "--work_size", "16", "--out", tmp_path / "out"]
    assert main([str(each) for each in (*fixed, *photos)]) == 0
    assert "in 100% of it none is in focus" in capsys.readouterr().out
    assert (opened(tmp_path / "out" / "index.png") == 0).all()


def test_photos_that_do_not_fit_are_named_and_cost_the_others_nothing(run, tmp_path, capsys):
    small = save(tmp_path / "small.png", SCENE[:50])
    (tmp_path / "text.jpg").write_bytes(b"no photo")
    photos = [save(tmp_path / f"{left}.png", focused(left)) for left in (True, False)]
    assert run(photos[0], small, tmp_path / "text.jpg", photos[1], tmp_path / "nowhere.jpg") == 1
    said = capsys.readouterr().err
    assert f"error: {small}: is 128 x 50, and the first photo 128 x 96\n" in said
    assert "text.jpg: not an image" in said and "nowhere.jpg: no such file" in said
    assert len(opened(tmp_path / "out" / "index.png")) == 96
    with pytest.raises(UserError, match="at least two photos that can be read, here 1"):
        run(photos[0], small)


def test_photos_that_do_not_lie_on_each_other_are_named(run, tmp_path, capsys):
    broad = np.asarray(Image.fromarray(SCENE[::4, ::4]).resize((400, 300), Image.Resampling.BICUBIC))
    first, second = save(tmp_path / "a.png", broad[20:260, 20:340]), save(tmp_path / "b.png", broad[20:260, 30:350])
    assert run(first, second) == 0
    said = capsys.readouterr().err
    assert f"warning: {second}: lies " in said and "pixels off the one before; align the photos first\n" in said
    (pixels,) = (int(word) for word in said.split() if word.isdecimal())
    assert abs(pixels - 10) <= 2
    assert f"{first}: lies" not in said


def test_photos_that_drift_bit_by_bit_are_told_once(run, tmp_path, capsys):
    broad = np.asarray(Image.fromarray(SCENE[::4, ::4]).resize((400, 300), Image.Resampling.BICUBIC))
    photos = [save(tmp_path / f"{at}.png", broad[20:260, 20 + at : 340 + at]) for at in range(6)]
    assert run(*photos) == 0
    said = capsys.readouterr().err
    assert said.count("warning: ") == said.count(" pixels off the first, bit by bit; align the photos first\n") == 1


def test_a_second_run_into_the_photos_folder_takes_no_results_and_a_user_s_photo_is_not_overwritten(
    run, tmp_path, capsys
):
    folder = tmp_path / "stack"
    for name, left in (("a.png", True), ("index.png", False)):
        save(folder / name, focused(left))
    with pytest.raises(UserError, match=r"stack/index.png: was not written by this command; move it away, or name"):
        run(folder, "--out", folder)
    (folder / "index.png").rename(folder / "x.png")
    for left in ("", "warning: left out 3 files named as results of this command or of sgdbd\n"):
        assert run(folder, "--out", folder) == 0
        said = capsys.readouterr()
        assert (
            said.out.startswith("2 photos in ") and said.err.startswith(left) and ("warning" in said.err) == bool(left)
        )


def test_the_measurement_counts_the_known_pixels_that_go_to_the_right_photo(run, tmp_path, capsys):
    """Masks are alike here: they give all to the first photo, of which a half is right."""
    for letter in "AB":
        save(tmp_path / "pairs" / "input" / "x" / f"x_{letter}.png", focused(letter == "A"))
    vote = np.full((96, 128), 128, np.uint8)
    vote[:, :50], vote[:, 78:] = 255, 0
    save(tmp_path / "pairs" / "vote" / "x.png", vote)
    assert run("--pairs", tmp_path / "pairs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 pairs: ")
    numbers = {line[:30].strip(): [float(each) for each in line.split()[-2:]] for line in lines[1:]}
    assert numbers["masks alone"] == [0.5, 0.5]
    assert numbers["gradients alone"][0] > 0.97 and numbers["gradients and masks"] == numbers["gradients alone"]


def test_without_photos_or_a_folder_the_command_says_what_it_needs(tmp_path, capsys):
    for arguments in ([], ["a.jpg"], ["--out", str(tmp_path)]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "name photos, and a folder for the results by --out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["a.jpg", "--pairs", str(tmp_path)])
    assert "--pairs measures only; leave photos and --out out" in capsys.readouterr().err

"""The whole command: scores known by hand, its files, its refusals."""

import csv
import json
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from PIL import Image
from tiny_generators import constant_variables, save_generator

from experiments.evaluate import main
from sgdbd_jax.detection.shipped import DEFAULT
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation import pairs

SIDE = 320  # the protocol's own: nothing is resized
TRUTH = np.zeros((SIDE, SIDE), np.uint8)
TRUTH[:, :80] = 255  # a quarter is in focus


@pytest.fixture
def benchmark(tmp_path):
    """Two photos, noise where in focus and grey elsewhere; masks in CUHK's polarity; perfect predictions."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    photo = np.where(TRUTH[..., None] > 0, noise, 128).astype(np.uint8)
    for name in ("a", "b"):
        for folder, suffix, pixels in (
            ("images", ".jpg", photo),
            ("masks", ".png", 255 - TRUTH),
            ("predictions", ".mask.png", TRUTH),
        ):
            save(tmp_path / folder / (name + suffix), pixels)
    return tmp_path


def save(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def arguments(folder, *more, white="blurred", predictions=True):
    names = ("images", "masks", "out", "predictions") if predictions else ("images", "masks", "out")
    folders = [argument for name in names for argument in (f"--{name}", folder / name)]
    return [str(argument) for argument in ("--masks_white", white, *folders, *more)]


def result(folder):
    return json.loads((folder / "out" / "result.json").read_text())


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


CHANCE = 1.3 * 0.25 / (0.3 * 0.25 + 1)  # F of a mask that chooses everything, a quarter of it rightly


def test_perfect_predictions_score_one_beside_the_floors(benchmark, capsys):
    assert main(arguments(benchmark)) == 0
    scores = result(benchmark)
    floors = scores.pop("floors")
    assert scores == {"protocol": "paper", "images": 2, "f_measure": 1, "mae": 0, "precision": 1, "recall": 1}
    assert floors["zeros"] == pytest.approx({"f_measure": CHANCE, "mae": 0.25, "precision": 0.25, "recall": 1})
    assert floors["ones"] == pytest.approx({"f_measure": CHANCE, "mae": 0.75, "precision": 0.25, "recall": 1})
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["protocol", "paper,", "2", "images", "F", "MAE", "precision", "recall"]
    assert table[1].split()[1:] == ["1.000", "0.000", "1.000", "1.000"]
    assert table[2].split() == ["all", "zeros", f"{CHANCE:.3f}", "0.250", "0.250", "1.000"]


def test_rows_and_curves_are_written(benchmark):
    save(benchmark / "predictions" / "b.mask.png", TRUTH // 255 * 51)  # 0.2 where in focus
    main(arguments(benchmark))
    images = rows(benchmark / "out" / "per_image.csv")
    assert [row["image"] for row in images] == ["a.jpg", "b.jpg"]
    assert [float(row["mae"]) for row in images] == pytest.approx([0, 0.25 * 0.8])
    curves = rows(benchmark / "out" / "curves.csv")
    assert [float(row["threshold"]) for row in curves] == pytest.approx(np.arange(256) / 255, abs=1e-6)
    recall = [float(row["recall"]) for row in curves]
    assert recall == [1.0] * 52 + [0.5] * 204  # above 51 / 255 only the first mask chooses anything
    with Image.open(benchmark / "out" / "curves.png") as picture:
        assert picture.width > picture.height > 300


def test_protocol_sod_reports_its_measures(benchmark, capsys):
    main(arguments(benchmark, "--protocol", "sod"))
    scores = result(benchmark)
    assert scores["protocol"] == "sod"
    for name in ("f_measure", "max_f", "s_measure", "weighted_f"):
        assert scores[name] == pytest.approx(1)
    assert scores["floors"]["ones"]["weighted_f"] < 1
    assert "weighted F" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(("given", "name"), [([], DEFAULT), (["--weights", "accurate"], "accurate")])
def test_shipped_weights_are_called_by_their_name(benchmark, capsys, monkeypatch, given, name):
    weights = save_generator(benchmark / "g.safetensors", constant_variables(0.75))
    monkeypatch.setattr("sgdbd_jax.detection.detector.weight_file", lambda name: weights)
    assert main(arguments(benchmark, *given, predictions=False)) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"the shipped weights, {name} ")


def test_a_generator_is_scored_at_the_protocols_size(benchmark):
    """It says 0.75 of every pixel, stored as 191, which stays below the capped threshold 1: nothing is chosen."""
    weights = save_generator(benchmark / "g.safetensors", constant_variables(0.75))
    main(arguments(benchmark, "--weights", weights, "--work_size", "16", predictions=False))
    scores = result(benchmark)
    assert (scores["f_measure"], scores["precision"], scores["recall"]) == (0, 0, 0)
    assert scores["mae"] == pytest.approx(0.25 * 64 / 255 + 0.75 * 191 / 255, abs=1e-6)


def test_names_restrict_the_photos(benchmark):
    (benchmark / "names.csv").write_text("image,split\nb.jpg,validation\n")
    main(arguments(benchmark, "--names", benchmark / "names.csv"))
    assert [row["image"] for row in rows(benchmark / "out" / "per_image.csv")] == ["b.jpg"]


def test_a_polarity_that_contradicts_the_photos_is_warned_about(benchmark, capsys):
    main(arguments(benchmark))
    assert "warning" not in capsys.readouterr().err
    main(arguments(benchmark, white="focused"))
    assert "warning: " in (message := capsys.readouterr().err)
    assert "is --masks_white focused right?" in message
    assert result(benchmark)["mae"] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("names", ["a", "ab"])
def test_truths_of_0_and_1_are_scored_as_others_and_counted(benchmark, capsys, names, dtype):
    for name in names:
        save(benchmark / "masks" / f"{name}.png", ((255 - TRUTH) // 255).astype(dtype))
    main(arguments(benchmark))
    assert (result(benchmark)["f_measure"], result(benchmark)["mae"]) == (1, 0)
    (line,) = capsys.readouterr().err.splitlines()
    named = ", ".join(f"{name}.png" for name in names)
    assert line.endswith(f"masks: {len(names)} masks of 0 and 1 alone, read as 0 and 255: {named}")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("names", ["a", "ab"])
def test_so_are_predictions_where_none_has_greys(benchmark, capsys, names, dtype):
    for name in names:
        save(benchmark / "predictions" / f"{name}.mask.png", (TRUTH // 255).astype(dtype))
    main(arguments(benchmark))
    assert (result(benchmark)["f_measure"], result(benchmark)["mae"]) == (1, 0)
    assert f"predictions: {len(names)} masks of 0 and 1 alone, read as 0 and 255: a" in capsys.readouterr().err


def test_beside_predictions_with_greys_those_of_0_and_1_are_nearly_black(benchmark, capsys):
    save(benchmark / "predictions" / "a.mask.png", TRUTH // 255)
    save(benchmark / "predictions" / "b.mask.png", TRUTH // 255 * 51)
    main(arguments(benchmark))
    maes = [float(row["mae"]) for row in rows(benchmark / "out" / "per_image.csv")]
    assert maes == pytest.approx([0.25 * 254 / 255, 0.25 * 0.8], abs=1e-6)
    words = "predictions: 1 masks of tiny values among masks of greys, taken as nearly black: a.mask.png"
    assert words in capsys.readouterr().err


def test_predictions_of_8_bits_in_16_are_read_as_such_greys_and_all(benchmark, capsys):
    for name, level in (("a", 255), ("b", 51)):
        save(benchmark / "predictions" / f"{name}.mask.png", (TRUTH // 255 * np.uint16(level)).astype(np.uint16))
    main(arguments(benchmark))
    maes = [float(row["mae"]) for row in rows(benchmark / "out" / "per_image.csv")]
    assert maes == pytest.approx([0, 0.25 * 0.8], abs=1e-6)
    assert "predictions: 2 masks of 8 bits in files of more, read as those" in capsys.readouterr().err


def test_label_maps_are_refused_by_name_unless_allowed(benchmark, capsys):
    save(benchmark / "masks" / "a.png", (TRUTH // 255 * 2).astype(np.uint8))
    with pytest.raises(UserError, match=r"a\.png: its brightest value is 2 of 255, so nothing is white"):
        main(arguments(benchmark))
    main(arguments(benchmark, "--allow_unpaired"))
    assert "a.png: its brightest value is 2" in capsys.readouterr().err
    assert result(benchmark)["images"] == 1


def test_inverted_predictions_are_warned_about(benchmark, capsys):
    for name in "ab":
        save(benchmark / "predictions" / f"{name}.mask.png", 255 - TRUTH)
    main(arguments(benchmark))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "predictions: the masks are inverted (brighter where the ground truths are blurred in 2 of 2); they are read as"
        " white = in focus"
    )


def test_inverted_truths_are_not_blamed_on_predictions(benchmark, capsys):
    for name in "ab":
        save(benchmark / "masks" / f"{name}.png", TRUTH)
    main(arguments(benchmark))
    (line,) = capsys.readouterr().err.splitlines()
    assert "is --masks_white blurred right?" in line


@pytest.mark.parametrize("brightest", [0, 2, 15])
def test_predictions_that_are_nearly_black_all_of_them_are_warned_about(benchmark, capsys, brightest):
    for name in "ab":
        save(benchmark / "predictions" / f"{name}.mask.png", TRUTH // 255 * np.uint8(brightest))
    main(arguments(benchmark))
    (line,) = capsys.readouterr().err.splitlines()
    assert f"predictions: no pixel of any mask is above {brightest} of 255" in line


def test_photos_given_as_masks_are_warned_about(benchmark, capsys):
    photo = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    for folder, name in (("masks", "a.png"), ("predictions", "b.mask.png")):
        save(benchmark / folder / name, photo)
    main(arguments(benchmark))
    told = capsys.readouterr().err
    for folder, name in (("masks", "a.png"), ("predictions", "b.mask.png")):
        assert f"{folder}: 1 masks in colour, of which the brightness is read: {name}\n" in told


def test_results_of_the_command_are_neither_photos_nor_truths_nor_predictions(benchmark, capsys):
    """What `sgdbd` wrote beside a photo is left out; of what it wrote elsewhere, all but the masks."""
    for folder in ("images", "masks"):
        for kind in ("mask", "overlay") if folder == "images" else ("overlay",):
            save(benchmark / folder / f"a.{kind}.png", TRUTH)
    (benchmark / "masks" / "a.png").rename(benchmark / "masks" / "a.mask.png")
    for kind in ("overlay", "cutout", "binary"):
        save(benchmark / "predictions" / f"a.{kind}.png", TRUTH)
    main(arguments(benchmark))
    assert (result(benchmark)["images"], result(benchmark)["mae"]) == (2, 0)
    lines = capsys.readouterr().err.splitlines()
    for line, (folder, count) in zip(lines, (("images", 2), ("masks", 1), ("predictions", 3)), strict=True):
        assert f"{folder}: left out {count} files named as results of sgdbd are: a." in line


def test_predictions_may_lie_beside_their_photos(benchmark, capsys):
    for path in (benchmark / "predictions").iterdir():
        path.rename(benchmark / "images" / path.name)
    main([*arguments(benchmark, predictions=False), "--predictions", str(benchmark / "images")])
    assert (result(benchmark)["images"], result(benchmark)["mae"]) == (2, 0)
    assert "belong to no photo" not in capsys.readouterr().err


def test_names_pair_however_they_are_written_and_photos_may_lack_an_extension(benchmark):
    names = {"images": "NFC", "masks": "NFD", "predictions": "NFC"}
    for folder, form in names.items():
        for path in (benchmark / folder).iterdir():
            suffix = path.name.removeprefix(path.name[0])
            name = unicodedata.normalize(form, {"a": "é", "b": "IMG.1"}[path.name[0]])
            bare = folder == "images" and name == "IMG.1"
            path.rename(path.with_name(name + ("" if bare else suffix)))
    (benchmark / "names.txt").write_text(unicodedata.normalize("NFD", "é") + "\nIMG.1\n", encoding="utf-8")
    main(arguments(benchmark, "--names", benchmark / "names.txt"))
    assert [row["image"] for row in rows(benchmark / "out" / "per_image.csv")] == ["IMG.1", "é.jpg"]


@pytest.mark.parametrize("place", ["file", "file/out", "out/curves.png"])
def test_a_folder_that_cannot_hold_the_results_is_refused_before_anything_is_read(benchmark, monkeypatch, place):
    monkeypatch.setattr(pairs, "read_all", None)
    (benchmark / "file").touch()
    out = benchmark / "out" if place.startswith("out") else benchmark / place
    if place.startswith("out"):
        (benchmark / place).mkdir(parents=True)
    with pytest.raises(UserError, match=r"\(.*file is no folder\)|curves\.png: cannot be written \(it is a folder\)"):
        main(arguments(benchmark, "--out", out))


def test_the_polarity_must_be_stated(benchmark, capsys):
    options = arguments(benchmark)
    position = options.index("--masks_white")
    with pytest.raises(SystemExit) as end:
        main(options[:position] + options[position + 2 :])
    assert end.value.code == 2
    assert "--masks_white" in capsys.readouterr().err


def test_what_does_not_pair_is_named_and_refused_unless_allowed(benchmark, capsys):
    save(benchmark / "images" / "alone.png", TRUTH)
    save(benchmark / "masks" / "spare.png", TRUTH)
    with pytest.raises(UserError, match=r"1 photos without a mask: alone\.png; 1 masks without a photo: spare\.png"):
        main(arguments(benchmark))
    main(arguments(benchmark, "--allow_unpaired"))
    assert "alone.png" in capsys.readouterr().err
    assert result(benchmark)["images"] == 2


def test_a_photo_without_prediction_is_refused_unless_allowed(benchmark, capsys):
    (benchmark / "predictions" / "a.mask.png").unlink()
    with pytest.raises(UserError, match=r"predictions: a\.jpg"):
        main(arguments(benchmark))
    main(arguments(benchmark, "--allow_unpaired"))
    assert "a.jpg" in capsys.readouterr().err
    assert result(benchmark)["images"] == 1


def test_a_truth_of_another_size_is_refused_unless_allowed(benchmark, capsys):
    save(benchmark / "masks" / "b.png", TRUTH[:100])
    with pytest.raises(UserError, match=r"b\.jpg is 320x320.*320x100"):
        main(arguments(benchmark))
    main(arguments(benchmark, "--allow_unpaired"))
    assert "320x100" in capsys.readouterr().err
    assert result(benchmark)["images"] == 1


@pytest.mark.parametrize("protocol", ["paper", "sod"])
def test_a_prediction_of_another_size_is_refused(benchmark, protocol):
    save(benchmark / "predictions" / "b.mask.png", np.full((10, 20), 102, np.uint8))
    with pytest.raises(UserError, match=r"b\.mask\.png is 20x10, its photo 320x320"):
        main(arguments(benchmark, "--protocol", protocol))


def test_predictions_that_belong_to_no_photo_are_warned_about(benchmark, capsys):
    save(benchmark / "predictions" / "stranger.png", np.full((10, 20), 102, np.uint8))
    main(arguments(benchmark))
    assert "1 masks in" in (message := capsys.readouterr().err)
    assert "stranger.png" in message


def test_a_refusal_leaves_earlier_results_as_they_were(benchmark):
    main(arguments(benchmark))
    before = {path.name: path.read_bytes() for path in (benchmark / "out").iterdir()}
    damaged = benchmark / "predictions" / "b.mask.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(UserError, match=r"b\.mask\.png"):
        main(arguments(benchmark))
    assert {path.name: path.read_bytes() for path in (benchmark / "out").iterdir()} == before


def test_nothing_left_is_refused(benchmark):
    for folder in ("masks", "predictions"):
        for path in (benchmark / folder).iterdir():
            path.rename(path.with_name("other" + path.name))
    with pytest.raises(UserError, match="nothing is left to score"):
        main(arguments(benchmark, "--allow_unpaired"))


def test_bad_input_ends_the_process_with_one_line_and_code_2(benchmark):
    (benchmark / "empty").mkdir()
    command = [sys.executable, "-m", "experiments.evaluate", *arguments(benchmark, "--images", benchmark / "empty")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert str(benchmark / "empty") in ended.stderr

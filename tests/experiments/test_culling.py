"""`sgdbd --bursts --xmp`: the whole command, with masks of a generator that says 0.75 of every pixel."""

import csv
import dataclasses
import json
import os
import signal

import cv2
import numpy as np
import pytest
from PIL import Image

from experiments.predict import main
from sgdbd_jax.folders import report, worker
from sgdbd_jax.folders.sidecars import Sidecars
from sgdbd_jax.folders.xmp import EMPTY, Packet

SCENES = [cv2.resize(np.random.default_rng(n).integers(0, 256, (9, 12, 3), np.uint8), (96, 72)) for n in (0, 1)]
DETAIL = np.random.default_rng(2).integers(-40, 41, (72, 96, 1))


@pytest.fixture
def run(weights, tmp_path):
    """Calls the command with small networks on `photos/` and returns its exit code."""

    def call(*arguments):
        fixed = ["--weights", weights, "--work_size", "16", "--out", tmp_path / "out", tmp_path / "photos"]
        return main([str(argument) for argument in (*fixed, *arguments)])

    return call


def save(path, scene=0, *, blur=0.0, taken=None):
    """A photo of a scene, with detail that a blur takes away, at a second of one minute."""
    pixels = np.clip(SCENES[scene] + DETAIL, 0, 255).astype(np.uint8)
    if blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur)
    exif = Image.Exif()
    if taken is not None:
        exif[0x8769] = {0x9003: f"2026:05:04 12:00:{int(taken):02}", 0x9291: f"{taken % 1:.2f}"[2:]}
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def grey(path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((72, 96, 3), 90, np.uint8)).save(path)
    return path


def sidecar(path):
    """What a sidecar says: rating, and keywords."""
    packet = Packet(path.read_bytes())
    return packet.value("xmp:Rating"), packet.items("dc:subject")


def bursts(folder):
    """What the table says of each photo, by its name: burst, and whether it is the best."""
    with (folder / "report.csv").open(newline="") as file:
        return {row["name"]: (row["burst"], row["best"]) for row in csv.DictReader(file)}


def test_bursts_and_their_best_are_in_the_report_and_in_sidecars(run, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    save(photos / "a.jpg", taken=10.0, blur=0.8)
    save(photos / "b.jpg", taken=10.25)
    save(photos / "c.jpg", taken=11.9, blur=1.5)
    save(photos / "d.png", 1, taken=12.0)  # another scene
    save(photos / "e.jpg", taken=20.0)
    save(photos / "f.jpg")
    assert run("--bursts", "--xmp") == 0
    expected = {"a": ("1", "no"), "b": ("1", "yes"), "c": ("1", "no")} | dict.fromkeys("def", ("", ""))
    assert bursts(out) == expected
    rows = {row["name"]: row for row in map(json.loads, (out / "report.jsonl").read_text().splitlines())}
    assert (rows["b"]["burst"], rows["b"]["best"], rows["b"]["taken"]) == (1, True, "2026-05-04T12:00:10.250000")
    assert "best of burst 1" in (out / "report.html").read_text()
    rating, words = sidecar(photos / "b.jpg.xmp")
    assert int(rating) > 0 and words[-2:] == ["focus: burst", "focus: best of burst"]
    assert sidecar(photos / "c.jpg.xmp")[1][-1] == "focus: burst"
    assert "focus: burst" not in sidecar(photos / "d.png.xmp")[1]
    assert len(list(photos.glob("*.xmp"))) == 6


def test_adobe_s_sidecars_go_to_raw_files_first_by_thresholds_and_nothing_sharp_is_rejected(run, tmp_path, capsys):
    photos = tmp_path / "photos"
    save(photos / "sharp.jpg", blur=6)
    (photos / "sharp.nef").write_bytes(save(tmp_path / "b.png").read_bytes())  # the content tells what it is
    grey(photos / "grey.png")
    (photos / "damaged.nef").write_bytes(b"\xff\xd8\xff")
    save(photos / "damaged.jpg")
    assert run("--xmp", "--xmp_names", "adobe", "--xmp_ratings", "0.01,0.02,0.03,1") == 1
    assert sidecar(photos / "sharp.xmp")[0] == "4"
    assert sidecar(photos / "grey.xmp") == ("-1", ["focus: nothing sharp", "focus: low confidence"])
    assert sorted(path.name for path in photos.glob("*.xmp")) == ["damaged.xmp", "grey.xmp", "sharp.xmp"]
    assert "note: 1 without a sidecar, as a photo of the same name has it" in capsys.readouterr().err


def test_sidecars_that_cannot_be_merged_are_named_and_cost_the_others_nothing(run, tmp_path, capsys):
    photos = tmp_path / "photos"
    for name in "ab":
        save(photos / f"{name}.jpg")
    (photos / "a.jpg.xmp").write_bytes(EMPTY[:-70])
    assert run("--xmp") == 1
    assert (photos / "a.jpg.xmp").read_bytes() == EMPTY[:-70]
    assert int(sidecar(photos / "b.jpg.xmp")[0]) > 0
    printed = capsys.readouterr()
    assert printed.err.count(f"error: {photos}/a.jpg.xmp: left as it is, for it is not well-formed XML") == 1
    assert printed.out == f"2 masks and report.html in {tmp_path}/out; 1 without a sidecar\n"
    assert {record.status for record in report.read(tmp_path / "out").values()} == {"done"}


# Again.


def test_resume_works_on_no_photo_again_for_bursts_and_sidecars_and_touches_none_in_vain(run, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    save(photos / "a.jpg", taken=10, blur=0.8)
    save(photos / "b.jpg", taken=11)
    assert run() == 0
    masks = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert run("--bursts", "--xmp", "--resume") == 0
    assert bursts(out) == {"a": ("1", "no"), "b": ("1", "yes")}
    first, second = photos / "a.jpg.xmp", photos / "b.jpg.xmp"
    (ours, words), written = sidecar(first), second.stat().st_mtime_ns

    packet = Packet(first.read_bytes())
    packet.set_value("xmp:Rating", "5")
    packet.change_items("dc:subject", add=["sea"], remove=["focus: burst"])
    first.write_bytes(packet.data())  # by a person
    save(photos / "c.jpg", taken=12)  # joins the burst; the first of equals is best
    assert run("--bursts", "--xmp", "--resume") == 0
    assert bursts(out) == {"a": ("1", "no"), "b": ("1", "yes"), "c": ("1", "no")}
    assert first.read_bytes() == packet.data() and second.stat().st_mtime_ns == written
    assert run("--bursts", "--xmp", "--resume", "--xmp_overwrite") == 0
    rating, again = sidecar(first)
    assert rating == ours and set(again) == {*words, "sea"}
    assert run("--resume") == 0  # bursts were not asked for
    assert set(bursts(out).values()) == {("", "")}
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.png")}.items() >= masks.items()


def test_for_bursts_photos_that_an_earlier_version_reported_are_done_again(run, tmp_path):
    out = tmp_path / "out"
    save(tmp_path / "photos" / "a.jpg", taken=10)
    save(tmp_path / "photos" / "b.jpg", taken=11)
    assert run() == 0
    (first, second) = report.read(out).values()
    focus = dataclasses.replace(first.focus, sharpness=None)
    report.write(out, [dataclasses.replace(first, focus=focus, taken=""), second])
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert run("--resume", "--bursts") == 0
    assert {path.name for path in out.glob("*.png") if path.stat().st_mtime_ns > before[path.name]} == {"a.mask.png"}
    assert bursts(out)["a"][0] == bursts(out)["b"][0] == "1"

    (tmp_path / "photos" / "b.jpg").unlink()  # what is not asked for is in no burst, for it would have no sidecar
    assert run("--resume", "--bursts") == 0
    assert bursts(out) == {"a": ("", ""), "b": ("", "")}


def test_after_a_stop_sidecars_are_left_until_the_rest_is_done(run, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    for at in range(6):
        save(photos / f"{at:02}.jpg", taken=3 * at)
    load = worker.load_smaller

    def stop(path, least, **options):
        if path.stem == "01":
            os.kill(os.getpid(), signal.SIGTERM)
        return load(path, least, **options)

    monkeypatch.setattr(worker, "load_smaller", stop)
    options = ("--bursts", "--burst_seconds", "3", "--xmp")
    assert run(*options) == 128 + signal.SIGTERM
    assert not list(photos.glob("*.xmp"))
    monkeypatch.setattr(worker, "load_smaller", load)
    assert run(*options, "--resume") == 0
    assert len(list(photos.glob("*.xmp"))) == 6
    assert {burst for burst, _ in bursts(tmp_path / "out").values()} == {"1"}


def test_at_a_stop_among_sidecars_those_that_are_left_are_told(run, tmp_path, monkeypatch, capsys):
    for name in "ab":
        save(tmp_path / "photos" / f"{name}.jpg")
    write = Sidecars.write

    def stop(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return write(*arguments)

    monkeypatch.setattr(Sidecars, "write", stop)
    assert run("--xmp") == 128 + signal.SIGTERM
    assert "note: sidecars left: 1; the same command with --resume writes them" in capsys.readouterr().err


# Options.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--xmp_overwrite"], "--xmp_overwrite: means something with --xmp only"),
        (["--xmp_names", "adobe"], "--xmp_names: means something with --xmp only"),
        (["--burst_seconds", "0"], "--burst_seconds: means something with --bursts only"),
        (["--bursts", "--burst_seconds", "nan"], "--burst_seconds: 'nan' is not a number of seconds, 0 or more"),
        (["--bursts", "--burst_seconds", "a"], "--burst_seconds: 'a' is not a number of seconds"),
        (["--xmp", "--xmp_ratings", "0.5,0.4,0.6,0.7"], "'0.5,0.4,0.6,0.7' is not four scores from 0 to 1"),
        (["--xmp", "--xmp_ratings", "0.5"], "four scores from 0 to 1"),
        (["--xmp", "--xmp_ratings", "a,b,c,d"], "--xmp_ratings: 'a,b,c,d' is not four scores"),
    ],
)
def test_options_without_meaning_are_refused(run, options, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(*options)
    assert said in capsys.readouterr().err

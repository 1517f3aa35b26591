"""The whole command on clips: with photos, in folders, again, and without PyAV."""

import re
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
from tiny_clips import noise, write_clip

from experiments.predict import main
from sgdbd_jax.folders import report


@pytest.fixture
def run(weights, tmp_path):
    def call(*arguments):
        fixed = ["--weights", weights, "--work_size", "16", "--out", tmp_path / "out"]
        return main([str(argument) for argument in (*fixed, *arguments)])

    return call


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def save_photo(path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(noise()).save(path)
    return path


def save_clip(path, count=3):
    path.parent.mkdir(exist_ok=True)
    return write_clip(path, [noise(seed) for seed in range(count)])


def stamps(out):
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix in (".png", ".mp4")}


def test_photos_and_clips_go_in_one_command_and_a_broken_one_costs_the_others_nothing(run, tmp_path, out, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clips = [save_clip(tmp_path / name) for name in ("a.mkv", "b.avi")]
    inputs = clips[0], tmp_path / "broken.mp4", save_photo(tmp_path / "c.png"), clips[1]
    assert run(*inputs, "--sharpest", "1", "--mask_names", "colmap") == 1
    printed = capsys.readouterr()
    assert f"1 mask, 2 clips and report.html in {out}; 1 failed\n" in printed.out
    assert f"error: {tmp_path}/broken.mp4: not a video that can be read" in printed.err
    assert {re.sub(r".*/", "", path): record.status for path, record in report.read(out).items()} == {
        **dict.fromkeys(("a.mkv", "b.avi", "c.png"), "done"),
        "broken.mp4": "failed",
    }
    for name in ("a", "b"):
        assert (out / f"{name}.frames.csv").read_text().count("\n") == 4
        assert len(list((out / f"{name}.masks").iterdir())) == 3
        assert len(list((out / f"{name}.frames").iterdir())) == 1
    page = (out / "report.html").read_text()
    assert page.count('href="a.overlay.mp4"') == 2 and page.count("the sharpest frame, 32 x 24") == 2
    assert page.count('href="c.mask.png"') == 2


def test_resume_does_a_clip_again_only_for_other_options_or_results_that_are_gone(run, tmp_path, out):
    inputs = save_clip(tmp_path / "a.mkv"), save_photo(tmp_path / "c.png")
    masks = "--mask_names", "meshroom", "--resume"
    assert run(*inputs) == 0
    before = stamps(out)
    assert run(*inputs, "--resume") == 0 and stamps(out) == before
    assert run(*inputs, *masks) == 0
    again = stamps(out)
    assert again["a.overlay.mp4"] > before["a.overlay.mp4"] and again["c.mask.png"] == before["c.mask.png"]
    assert run(*inputs, *masks) == 0 and stamps(out) == again
    (out / "a.masks" / "a_000002.png").unlink()
    assert run(*inputs, *masks) == 0
    assert len(list((out / "a.masks").iterdir())) == 3 and stamps(out)["c.mask.png"] == before["c.mask.png"]
    again = stamps(out)
    (out / "a.masks" / ".DS_Store").touch()  # as looking at it leaves there
    assert run(*inputs, *masks) == 0 and stamps(out) == again
    (out / "a.masks" / "a_000002.png").write_bytes(b"")  # as a power failure leaves it
    assert run(*inputs, *masks) == 0 and stamps(out)["a.overlay.mp4"] > again["a.overlay.mp4"]


def test_a_clip_that_was_stopped_is_done_when_resumed(run, tmp_path, out, monkeypatch):
    path = save_clip(tmp_path / "a.mkv", count=12)
    from sgdbd_jax.folders import clips

    add = clips._Files.add

    def stop(files, frame, *more):
        add(files, frame, *more)
        if frame.number == 3:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(clips._Files, "add", stop)
    assert run(path, save_photo(tmp_path / "c.png")) == 130
    (done,) = (record for record in report.read(out).values() if record.name == "a")
    assert done.error.startswith("stopped after frame ")
    assert 3 < (out / "a.frames.csv").read_text().count("\n") < 12
    monkeypatch.undo()
    assert run(path, "--resume") == 0
    assert (out / "a.frames.csv").read_text().count("\n") == 13
    assert {record.error for record in report.read(out).values()} == {""}


def test_a_folder_s_clips_are_taken_and_what_the_command_made_of_them_is_not(run, tmp_path, capsys):
    trip = tmp_path / "trip"
    save_clip(trip / "a.mkv"), save_photo(trip / "c.png")
    for _ in range(2):
        assert run(trip, "--recursive", "--out", trip, "--sharpest", "1", "--mask_names", "colmap") == 0
        assert f"1 mask, 1 clip and report.html in {trip}\n" in capsys.readouterr().out
    (trip / "x.masks").mkdir()  # which is the user's
    save_photo(trip / "x.masks" / "d.png")
    assert run(trip, "--recursive", "--out", trip) == 0
    assert f"2 masks, 1 clip and report.html in {trip}\n" in capsys.readouterr().out


def test_without_pyav_a_clip_is_refused_by_one_line_that_names_the_extra(run, tmp_path, out, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    clip = save_clip_without(tmp_path / "trip" / "a.mp4")
    assert run(clip, save_photo(tmp_path / "c.png")) == 1
    printed = capsys.readouterr()
    assert f"error: {clip}: video: needs PyAV; pip install 'sgdbd_jax[video]'\n" in printed.err
    assert "1 mask and report.html" in printed.out
    assert run(clip) == 2


def test_without_pyav_a_folder_s_clips_are_left_out_and_told(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    for name in ("a.mp4", "b.MOV"):
        save_clip_without(tmp_path / "trip" / name)
    save_photo(tmp_path / "trip" / "c.png")
    assert run(tmp_path / "trip") == 0
    assert "warning: 2 clips of folders are left out; to have them done, pip install 'sgdbd_jax[video]'\n" in (
        capsys.readouterr().err
    )


def save_clip_without(path):
    """A file that nobody gets to read."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    return path


def test_options_of_clips_are_refused_without_meaning_and_told_without_clips(run, tmp_path, capsys):
    photo = save_photo(tmp_path / "c.png")
    for wrong in (("--sharpest", "0"), ("--sharpest", "nan"), ("--sharpest", "x"), ("--mask_names", "other")):
        with pytest.raises(SystemExit):
            run(photo, *wrong)
        said = capsys.readouterr().err
        assert wrong[0] in said and "invalid _seconds" not in said
    clip = save_clip(tmp_path / "trip" / "a.mkv", count=1)
    for binary in ([], ["--binary", "fixed"]):
        assert run(clip, *binary, "--resume") == 0
        printed = capsys.readouterr()
        assert "note: 1 clip, of which each frame takes as long as a photo; --no_clips leaves out" in printed.err
        assert ("warning: there are no photos, of which alone --binary would be\n" in printed.err) == bool(binary)
        assert ("1 done before" in printed.out) == bool(binary)
    save_photo(clip.with_name("c.png"))
    assert run(clip.parent, "--no_clips", "--overlay") == 0
    printed = capsys.readouterr()
    assert "1 mask and report.html" in printed.out and "clip" not in printed.err and "warning" not in printed.err
    assert run(photo, "--sharpest", "2") == 0
    assert "warning: --mask_names and --sharpest are of clips, and there is none\n" in capsys.readouterr().err


def test_a_turned_clip_of_odd_size_has_its_masks_as_it_is_displayed(run, tmp_path, out):
    path = write_clip(tmp_path / "a.mp4", [np.full((45, 33, 3), 90, np.uint8)] * 2, codec="mpeg4", turned=90)
    assert run(path, "--mask_names", "meshroom") == 0
    with Image.open(out / "a.masks" / "a_000001.png") as mask:
        assert mask.size == (45, 33)

"""The whole command: masks of a generator that says 0.75 of every pixel, names, failures, stops."""

import base64
import configparser
import errno
import gc
import importlib
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.predict import main
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import write_atomically
from sgdbd_jax.folders import report, worker
from sgdbd_jax.folders.plan import Request
from sgdbd_jax.folders.thumbnails import photo_key

ROOT = Path(__file__).parents[2]
REPORTS = ["report.csv", "report.html", "report.jsonl"]


@pytest.fixture
def run(weights, tmp_path):
    """Calls the command with small networks and returns its exit code."""

    def call(*arguments):
        fixed = ["--weights", weights, "--work_size", "16", "--out", tmp_path / "out"]
        return main([str(argument) for argument in (*fixed, *arguments)])

    return call


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def save(path, height=6, width=9, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(path, **options)
    return path


def made(folder):
    """The results in a folder, whatever is reported on them."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= set(REPORTS)
    return sorted(name for name in names - set(REPORTS) if not name.startswith("report_thumbnails/"))


def statuses(folder):
    """What the report says of each photo, by its path from the folder above."""
    return {os.path.relpath(path, folder.parent): record.status for path, record in report.read(folder).items()}


# Results.


def test_a_mask_is_8_bit_grey_at_the_displayed_size(run, tmp_path, out):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by a quarter
    assert run(save(tmp_path / "turned.jpg", height=6, width=9, exif=exif)) == 0
    with Image.open(out / "turned.mask.png") as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (6, 9))
        np.testing.assert_array_equal(np.asarray(mask), 191)  # 0.75 of 255: white = in focus


def test_native_works_on_photos_as_they_are(run, tmp_path, out):
    assert run(save(tmp_path / "a.png", height=7, width=18), "--work_size", "native") == 0
    with Image.open(out / "a.mask.png") as mask:
        assert mask.size == (18, 7)


def test_what_else_is_asked_for_is_made_too(run, tmp_path, out):
    options = ["--overlay", "--cutout", "--binary", "fixed", "--polarity", "blurred"]
    assert run(save(tmp_path / "a.png"), *options) == 0
    assert made(out) == [f"a.{kind}.png" for kind in ("binary", "cutout", "mask", "overlay")]
    for kind, mode, value in (("mask", "L", 255 - 191), ("binary", "L", 0), ("cutout", "RGBA", (200, 200, 200, 191))):
        with Image.open(out / f"a.{kind}.png") as picture:
            assert (picture.mode, picture.size, picture.getpixel((8, 5))) == (mode, (9, 6), value)


def test_the_report_says_what_was_found_and_shows_it(run, tmp_path, out):
    assert run(save(tmp_path / "trip" / "a.png", height=300, width=600).parent) == 0
    (record,) = report.read(out).values()
    assert (record.path, record.name, record.status) == (str(tmp_path / "trip" / "a.png"), "a", "done")
    assert (record.width, record.height, record.error) == (600, 300, "")
    assert record.seconds > 0
    assert record.focus.unknown == 1  # all of one grey: no method can tell
    page = (out / "report.html").read_text()
    thumbnails = re.findall(r'<img class="\w+" src="([^"]+)"', page)
    assert len(thumbnails) == 2
    for path in thumbnails:
        with Image.open(out / path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (256, 128))


def test_without_weights_the_shipped_ones_are_taken(weights, tmp_path, out, monkeypatch):
    monkeypatch.setattr("sgdbd_jax.detection.detector.weight_file", lambda name: weights)
    assert main([str(save(tmp_path / "a.png")), "--out", str(out), "--work_size", "16"]) == 0
    assert made(out) == ["a.mask.png"]


def test_a_start_compiles_the_network_alone_loads_nothing_of_training_and_searches_for_no_garbage(weights, tmp_path):
    script = """
import gc, sys
import jax.monitoring
from experiments import predict
from sgdbd_jax.folders.plan import Request

programs, load, frozen = [], Request.load_detector, gc.get_freeze_count()

def note(event, seconds, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        programs.append(seconds)

def load_and_tell(request):
    detector = load(request)
    print("loaded", len(programs), gc.isenabled(), gc.get_freeze_count() - frozen)
    return detector

jax.monitoring.register_event_duration_secs_listener(note)
Request.load_detector = load_and_tell
try:
    predict.start()
finally:
    others = {"matplotlib", "optax", "orbax", "scipy", "tensorflow", "torch"} & sys.modules.keys()
    print("done", len(programs), gc.isenabled(), gc.get_freeze_count() > frozen, others)
"""
    options = [save(tmp_path / "a.png"), "--weights", weights, "--work_size", "16", "--out", tmp_path / "out"]
    command = [sys.executable, "-c", script, *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("loaded 0 False 0", "done 1 True True set()")


def test_whoever_calls_the_command_keeps_their_search_for_garbage(run, tmp_path):
    frozen = gc.get_freeze_count()
    assert run(save(tmp_path / "a.png")) == 0
    assert gc.isenabled() and gc.get_freeze_count() == frozen


# Names.


def test_folders_and_files_are_taken_once_and_results_are_not_photos(run, tmp_path, out, capsys):
    photos = tmp_path / "photos"
    first = save(photos / "a.jpg")
    for name in ("b.PNG", "a.mask.png", "a.overlay.png"):
        save(photos / name)
    assert run(photos, first, tmp_path / "photos" / ".." / "photos" / "a.jpg") == 0
    assert made(out) == ["a.mask.png", "b.mask.png"]
    assert f": {photos}/a.mask.png, {photos}/a.overlay.png\n" in capsys.readouterr().err


def test_photos_left_out_for_their_names_are_told_the_first_three_by_name(run, tmp_path, capsys):
    named = [save(tmp_path / f"{letter}.mask.png") for letter in "abcde"]
    assert run(*named, save(tmp_path / "a.png")) == 0
    first = ", ".join(map(str, named[:3]))
    printed = capsys.readouterr()
    assert f"warning: left out, for they are named as results of this command: {first} and 2 more\n" in printed.err
    assert printed.out.startswith("1 mask and report.html in ")


def test_photos_keep_their_place_under_the_folder(run, tmp_path, out):
    photos = tmp_path / "photos"
    for name in ("a.jpg", "trip/a.jpg", "trip/day 1/a.jpg"):
        save(photos / name)
    assert run(photos, "--recursive") == 0
    assert made(out) == ["a.mask.png", "trip/a.mask.png", "trip/day 1/a.mask.png"]
    assert run(photos, "--recursive") == 0  # again: the same names
    assert made(out) == ["a.mask.png", "trip/a.mask.png", "trip/day 1/a.mask.png"]


def test_photos_of_one_name_do_not_overwrite_each_other(run, tmp_path, out, capsys):
    folders = [tmp_path / "one", tmp_path / "two"]
    save(folders[0] / "a.jpg", height=3)
    save(folders[0] / "A.png", height=4)
    save(folders[1] / "a.jpg", height=5)
    assert run(*folders) == 0
    heights = {}
    for name in made(out):
        with Image.open(out / name) as mask:
            heights[name] = mask.height
    assert heights == {"A.mask.png": 4, "a-2.mask.png": 3, "a-3.mask.png": 5}
    errors = capsys.readouterr().err
    assert f"{folders[0] / 'a.jpg'}: its results are called a-2" in errors
    assert f"{folders[1] / 'a.jpg'}: its results are called a-3" in errors


def test_any_name_will_do(run, tmp_path, out, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["-dash", "two\nlines", "  spaces ", "é 犬", "no text \udcff", "a[1]", "100%"]
    for name in names:
        save(tmp_path / f"{name}.png")
    listed = b"\0".join(os.fsencode(f"{name}.png") for name in names)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert run("-") == 0
    assert made(out) == sorted(f"{name}.mask.png" for name in names)
    assert {record.name for record in report.read(out).values()} == set(names)
    assert run("--resume", "--overlay", "--", "-dash.png") == 0
    assert (out / "-dash.overlay.png").is_file()


# Failures.


def spoil(folder):
    """Files of every kind that cannot be used, and of some kinds that only look so."""
    whole = save(folder / "good.jpg").read_bytes()
    for name, data in {
        "empty.jpg": b"",
        "truncated.jpg": whole[:200],
        "text.jpg": b"Dear diary, today I took no photo.",
        "really a jpeg.png": whole,
    }.items():
        (folder / name).write_bytes(data)
    save(folder / "one pixel.png", height=1, width=1)
    save(folder / "line.png", height=1, width=5000)
    save(folder / "bomb.png", height=100, width=101)
    (folder / "folder.jpg").mkdir()
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "into itself").symlink_to(".")
    os.mkfifo(folder / "pipe.jpg")
    save(folder / "locked.jpg").chmod(0)


def test_a_bad_file_never_stops_the_rest_and_is_named_with_its_reason(run, tmp_path, out, capsys):
    photos = tmp_path / "photos"
    spoil(photos)
    failing = {"bomb.png", "empty.jpg", "loop.jpg", "pipe.jpg", "text.jpg", "truncated.jpg"}
    if os.geteuid() != 0:  # who may read anything
        failing.add("locked.jpg")
    assert run(photos, tmp_path / "nowhere", "--recursive", "--max_pixels", "10000", "--work_size", "max:64") == 1
    printed = capsys.readouterr()
    good = {"good.jpg", "really a jpeg.png", "one pixel.png", "line.png", "locked.jpg"} - failing
    assert statuses(out) == (
        {f"photos/{name}": "failed" for name in failing}
        | {f"photos/{name}": "done" for name in good}
        | {"nowhere": "failed"}
    )
    assert made(out) == sorted(f"{Path(name).stem}.mask.png" for name in good)
    with Image.open(out / "line.mask.png") as mask:
        assert mask.size == (5000, 1)
    for record in report.read(out).values():
        assert bool(record.error) == (record.status == "failed")
        if record.error:
            assert printed.err.count(f"error: {record.path}: {record.error}\n") == 1
    assert "no such file or folder" in report.read(out)[str(tmp_path / "nowhere")].error
    assert f"{len(good)} masks" in printed.out
    assert f"; {len(failing) + 1} failed" in printed.out


def test_a_defect_at_one_photo_does_not_stop_the_rest(run, tmp_path, out, monkeypatch, capsys):
    """As little as a lack of memory."""
    measure = worker.measure

    def fail(photo, *masks):
        if photo.shape[0] == 5:
            raise RuntimeError("Out of memory\nallocating 10 bytes")
        return measure(photo, *masks)

    monkeypatch.setattr(worker, "measure", fail)
    assert run(save(tmp_path / "a.png", height=5), save(tmp_path / "b.png", height=6)) == 1
    assert made(out) == ["b.mask.png"]
    assert f"error: {tmp_path}/a.png: RuntimeError: Out of memory allocating 10 bytes\n" in capsys.readouterr().err


def test_nothing_usable_is_code_2(run, tmp_path, out):
    (tmp_path / "a.jpg").write_bytes(b"not a photo")
    assert run(tmp_path / "a.jpg") == 2
    assert statuses(out) == {"a.jpg": "failed"}
    before = (out / "report.jsonl").read_bytes()
    save(tmp_path / "results" / "a.mask.png")
    for nothing in ("nowhere", "results"):
        with pytest.raises(UserError, match="no photos"):
            run(tmp_path / nothing)
    assert (out / "report.jsonl").read_bytes() == before  # a mistyped path costs no report


def test_a_full_disk_ends_the_run_with_the_report_of_what_was_done(run, tmp_path, out, monkeypatch):
    def full(path, data):
        if "c.mask" in path.name:
            raise UserError(f"{path}: full") from OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, data)

    monkeypatch.setattr(worker, "write_atomically", full)
    monkeypatch.setattr(worker, "WORKERS", 1)
    with pytest.raises(UserError, match=r"c\.mask\.png: full"):
        run(*(save(tmp_path / f"{name}.png") for name in "abcdefgh"))
    assert statuses(out) == {"a.png": "done", "b.png": "done"}
    masks = {f"{name}.mask.png" for name in "abde"}
    assert {path.name for path in out.iterdir()} <= {*masks, *REPORTS, "report_thumbnails"}


def test_a_folder_that_cannot_be_written_is_told_before_any_work(run, tmp_path, out, monkeypatch):
    out.write_bytes(b"a file")
    monkeypatch.setattr(Request, "load_detector", lambda _: pytest.fail("worked"))
    for folder in (out, out / "sub"):
        with pytest.raises(UserError, match=f"{folder}: cannot be written .*out is no folder.; name another"):
            run(save(tmp_path / "a.png"), "--out", folder)
    assert out.read_bytes() == b"a file"


@pytest.mark.parametrize(
    ("option", "value"),
    [("--work_size", "0"), ("--work_size", "-3"), ("--work_size", "big"), ("--max_pixels", "0"), ("--binary", "yes")],
)
def test_options_without_meaning_are_refused(option, value, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path), "--out", str(tmp_path), option, value])
    assert end.value.code == 2
    assert option in capsys.readouterr().err


def test_wrong_weights_end_the_process_with_one_line_and_code_2(tmp_path):
    photo = save(tmp_path / "a.png")
    command = [sys.executable, "-m", "experiments.predict", str(photo), "--weights", str(photo), "--out", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {photo}: not a readable safetensors file")
    assert ended.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# Resuming.


def stamps(folder, ending):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob(f"*{ending}")}


def test_resume_does_what_is_missing_and_nothing_else(run, tmp_path, out, capsys):
    photos = tmp_path / "photos"
    for name in ("b/x.png", "c/x.png"):
        save(photos / name)
    (photos / "b" / "y.png").write_bytes(b"damaged")
    assert run(photos / "b", photos / "c") == 1
    assert made(out) == ["x-2.mask.png", "x.mask.png", "y.mask.png"][:2]
    before, shown = stamps(out, ".mask.png"), report.read(out)

    save(photos / "a" / "x.png")  # a new one, earlier than the others, takes nobody's name
    save(photos / "b" / "y.png")  # mended
    (out / "x-2.mask.png").unlink()
    assert run(photos / "a", photos / "b", photos / "c", "--resume") == 0
    after = stamps(out, ".mask.png")
    assert sorted(after) == ["x-2.mask.png", "x-3.mask.png", "x.mask.png", "y.mask.png"]
    assert after["x.mask.png"] == before["x.mask.png"]
    assert "; 1 done before" in capsys.readouterr().out
    again = report.read(out)
    assert {os.path.relpath(path, photos): record.name for path, record in again.items()} == {
        "a/x.png": "x-3",
        "b/x.png": "x",
        "b/y.png": "y",
        "c/x.png": "x-2",
    }
    unchanged = str(photos / "b" / "x.png")
    assert again[unchanged] == shown[unchanged]

    assert run(photos / "a", photos / "b", photos / "c", "--resume", "--overlay") == 0  # more is asked for
    assert len(stamps(out, ".overlay.png")) == 4
    assert run(photos / "b", "--resume", "--overlay") == 0  # all is there
    assert len(report.read(out)) == 4  # of other photos, too, the report keeps what was done
    assert stamps(out, ".mask.png")["x.mask.png"] > before["x.mask.png"]


def test_without_resume_all_is_done_again(run, tmp_path, out):
    photos = [save(tmp_path / f"{name}.png") for name in "ab"]
    assert run(*photos) == 0
    before = stamps(out, ".mask.png")
    assert run(photos[1], "--resume") == 0
    assert stamps(out, ".mask.png") == before
    assert run(photos[1]) == 0
    assert stamps(out, ".mask.png")["b.mask.png"] > before["b.mask.png"]
    assert statuses(out) == {"a.png": "done", "b.png": "done"}  # what earlier runs did stays in the report


def test_photos_of_one_name_do_not_overwrite_each_other_in_later_runs_either(run, tmp_path, out):
    first, second = (save(tmp_path / folder / "x.png", width=width) for folder, width in (("a", 9), ("b", 12)))
    assert run(first) == 0 and run(second) == 0
    widths = []
    for name in ("x", "x-2"):
        with Image.open(out / f"{name}.mask.png") as mask:
            widths.append(mask.width)
    assert widths == [9, 12]
    assert len(report.read(out)) == 2


def test_resume_takes_as_done_only_what_was_made_so_and_since_the_photo(run, tmp_path, out):
    photo = save(tmp_path / "a.png")
    assert run(photo) == 0
    made = stamps(out, ".mask.png")
    assert run(photo, "--resume") == 0 and stamps(out, ".mask.png") == made
    assert run(photo, "--resume", "--polarity", "blurred") == 0
    inverted = stamps(out, ".mask.png")
    assert inverted["a.mask.png"] > made["a.mask.png"]
    os.utime(photo, ns=(inverted["a.mask.png"] + 10**9,) * 2)
    assert run(photo, "--resume", "--polarity", "blurred") == 0
    assert stamps(out, ".mask.png")["a.mask.png"] > inverted["a.mask.png"]


def resumed(run, photo, out) -> bool:
    """Whether `--resume` makes the photo's mask again."""
    before = stamps(out, ".mask.png")
    assert run(photo, "--resume") == 0
    return stamps(out, ".mask.png") != before


def put(path, data, time):
    """As `cp -p` and `rsync -a` do, with the time of another file."""
    path.write_bytes(data)
    os.utime(path, ns=(time, time))


@pytest.mark.parametrize("same_time", [False, True])
@pytest.mark.parametrize("same_size", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_resume_sees_another_photo_whatever_its_time(run, tmp_path, out, same_time, same_size, moved):
    photo = save(tmp_path / "a.bmp", width=9)
    assert run(photo) == 0
    time = photo.stat().st_mtime_ns - (0 if same_time else 10**15)
    other = save(tmp_path / "b.bmp", width=9 if same_size else 12)
    data = bytearray(other.read_bytes())
    data[-5] ^= 1
    put(other if moved else photo, bytes(data), time)
    if moved:
        os.replace(other, photo)
    assert resumed(run, photo, out)
    with Image.open(out / "a.mask.png") as mask:
        assert mask.width == (9 if same_size else 12)
    assert not resumed(run, photo, out)


def test_resume_leaves_a_photo_that_was_only_copied_over_by_itself(run, tmp_path, out):
    """Nor does one count as another that got a second name, or other rights."""
    photo = save(tmp_path / "a.png")
    assert run(photo) == 0
    put(photo, photo.read_bytes(), photo.stat().st_mtime_ns)
    photo.chmod(0o600)
    (tmp_path / "hard link").hardlink_to(photo)
    assert not resumed(run, photo, out)


@pytest.mark.parametrize("data", [None, b"", b"half"])
def test_resume_makes_results_again_that_are_not_as_they_were_written(run, tmp_path, out, data):
    photo = save(tmp_path / "a.png")
    assert run(photo) == 0
    mask = out / "a.mask.png"
    whole = mask.read_bytes()
    if data is None:
        mask.unlink()
    else:
        mask.write_bytes(data)
    assert resumed(run, photo, out)
    assert mask.read_bytes() == whole


def test_resume_knows_results_made_by_a_clock_that_was_wrong(run, tmp_path, out):
    photo = save(tmp_path / "a.png")
    assert run(photo) == 0
    os.utime(out / "a.mask.png", (1, 1))
    assert not resumed(run, photo, out)


def test_a_photo_that_is_replaced_while_it_is_read_is_done_again(run, tmp_path, out, monkeypatch, capsys):
    photo = save(tmp_path / "a.png", width=9)
    other, time = save(tmp_path / "b.png", width=12).read_bytes(), photo.stat().st_mtime_ns
    load = worker.load_smaller

    def replace(path, least, **options):
        pixels = load(path, least, **options)
        put(path, other, time)
        return pixels

    monkeypatch.setattr(worker, "load_smaller", replace)
    assert run(photo) == 0
    assert f"note: {photo}: changed while it was read; to be done again when resumed\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert resumed(run, photo, out)
    with Image.open(out / "a.mask.png") as mask:
        assert mask.width == 12


def as_an_earlier_version_wrote(out):
    rows = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    later = ("photo", "files")
    rows = [{key: value for key, value in row.items() if key not in later} for row in rows]
    (out / "report.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_report_of_an_earlier_version_is_gone_on_with(run, tmp_path, out):
    """What it calls done is done if nothing happened to the photo since; now no time of a copy deceives it either."""
    photo = save(tmp_path / "a.png")
    assert run(photo) == 0
    as_an_earlier_version_wrote(out)
    os.utime(out / "a.mask.png")
    assert not resumed(run, photo, out)
    put(photo, save(tmp_path / "b.png", width=12).read_bytes(), photo.stat().st_mtime_ns - 10**15)
    assert resumed(run, photo, out)


@pytest.mark.parametrize("what", ["report_thumbnails", "*.overlay.jpg", "emptied"])
def test_resume_brings_back_pictures_of_the_report(run, tmp_path, out, what):
    photo, other = save(tmp_path / "a.png"), save(tmp_path / "b.png")
    assert run(photo, other) == 0
    (picture,) = out.rglob(f"{photo_key(str(photo))}.overlay.jpg")
    if what == "report_thumbnails":
        shutil.rmtree(out / what)
    elif what == "emptied":  # by a power failure
        picture.write_bytes(b"")
    else:
        picture.unlink()
    before = stamps(out, ".mask.png")
    assert run(photo, other, "--resume") == 0
    again = {name for name, at in stamps(out, ".mask.png").items() if at > before[name]}
    assert again == ({"a.mask.png", "b.mask.png"} if what == "report_thumbnails" else {"a.mask.png"})
    assert (out / "report.html").read_text().count("<img") == 4 and picture.stat().st_size
    assert not resumed(run, photo, out)


def test_resume_takes_pictures_out_of_a_page_of_an_earlier_version(run, tmp_path, out):
    """No photo is done again for them; nor for want of pictures that its report never had."""
    photo = save(tmp_path / "a.png")
    assert run(photo) == 0
    as_an_earlier_version_wrote(out)
    os.utime(out / "a.mask.png")
    page, (picture,) = (out / "report.html").read_text(), out.rglob("*.photo.jpg")
    held = base64.b64encode(picture.read_bytes()).decode()
    page = re.sub(r'src="[^"]+"', f'src="data:image/jpeg;base64,{held}"', page)
    shutil.rmtree(out / "report_thumbnails")
    (out / "report.html").write_text(page)
    assert not resumed(run, photo, out)
    assert (out / "report.html").read_text().count('src="report_thumbnails/') == 2
    shutil.rmtree(out / "report_thumbnails")
    (out / "report.html").unlink()
    assert not resumed(run, photo, out)


# Names that are too long.


@pytest.mark.parametrize(
    "name",
    ["x" * 250, "夕日" * 41, "e\u0301" * 82, "no text " + "\udcff" * 239],
    ids=["letters", "of 3 bytes", "composed", "no text"],
)
def test_a_name_too_long_for_results_is_cut_and_found_again(run, tmp_path, out, capsys, name):
    first, second = save(tmp_path / f"{name}.png"), save(tmp_path / f"{name}.bmp", width=12)
    options = ["--overlay", "--binary", "fixed"]
    assert run(first, second, *options) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(made(out)) == 6
    names = [record.name for record in report.read(out).values()]
    assert len(set(names)) == 2 and all(name.startswith(each[:50]) for each in names)
    assert len(said) == 2 and all("; its name is too long" in line for line in said)
    before = stamps(out, ".png")
    assert run(first, second, *options, "--resume") == 0
    assert stamps(out, ".png") == before
    assert [(out / f"{each}.mask.png").is_file() for each in names] == [True, True]


def test_a_path_too_long_costs_that_photo_alone(run, tmp_path, out, monkeypatch, capsys):
    photos = tmp_path / "photos"
    save(photos / "a.png")
    monkeypatch.chdir(photos)
    for _ in range(20):  # deeper than a path may be
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    save(Path("b.png"))
    os.chdir(tmp_path)
    assert run(photos, "--recursive") == 1
    assert made(out) == ["a.mask.png"]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    assert line.endswith("cannot be listed (File name too long)")
    assert run(photos / "**" / "*.png", *["b" * 300 + ".png", "c/" * 3000 + "c.png"]) == 1
    assert made(out) == ["a.mask.png"]


# Two runs.


def test_a_second_run_into_a_folder_is_refused_until_the_first_ends(run, tmp_path, out, monkeypatch):
    photos = [save(tmp_path / f"{name}.png") for name in "ab"]
    load, refused = worker.load_smaller, []

    def meanwhile(path, least, **options):
        if not refused:
            refused.append("")
            with pytest.raises(UserError, match="out: another run is writing into this folder; wait for its end, or "):
                run(photos[1])
            refused[0] = path.name
        return load(path, least, **options)

    monkeypatch.setattr(worker, "load_smaller", meanwhile)
    assert run(photos[0]) == 0
    assert refused == ["a.png"]
    assert statuses(out) == {"a.png": "done"}
    assert run(photos[1]) == 0
    assert statuses(out) == {"a.png": "done", "b.png": "done"}
    assert made(out) == ["a.mask.png", "b.mask.png"]


# Stops.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_the_report_of_what_was_done_and_resume_does_the_rest(number, run, tmp_path, out, monkeypatch):
    photos = [save(tmp_path / f"{at:02}.png") for at in range(20)]
    load = worker.load_smaller

    def stop(path, least, **options):
        if path.stem == "05":
            os.kill(os.getpid(), number)
            time.sleep(0.2)  # for the main thread to hear it
        return load(path, least, **options)

    monkeypatch.setattr(worker, "load_smaller", stop)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run(*photos) == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    done = statuses(out)
    assert 3 <= len(done) <= 5 and set(done.values()) == {"done"}  # those in hand were finished, or left
    assert made(out) == sorted(f"{Path(name).stem}.mask.png" for name in done)

    monkeypatch.setattr(worker, "load_smaller", load)
    before = stamps(out, ".mask.png")
    assert run(*photos, "--resume") == 0
    assert len(statuses(out)) == len(made(out)) == 20
    assert before.items() <= stamps(out, ".mask.png").items()


def test_ctrl_c_ends_the_real_process_with_130_and_the_report(weights, tmp_path, out):
    photos = tmp_path / "photos"
    first = save(photos / "0000.png", height=400, width=600)
    for at in range(1, 2000):
        (photos / f"{at:04}.png").hardlink_to(first)
    command = [sys.executable, "-m", "experiments.predict", photos, "--weights", weights, "--out", out]
    process = subprocess.Popen([*command, "--work_size", "16"], cwd=ROOT, stdout=-1, stderr=-1, text=True)
    while process.poll() is None and not (out / "0003.mask.png").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out_and_err = process.communicate(timeout=60)
    assert process.returncode == 130, out_and_err
    assert "Traceback" not in out_and_err[1]
    done = report.read(out)
    assert 3 <= len(done) < 2000
    assert f"{len(done)} masks" in out_and_err[0] and f"; {2000 - len(done)} left" in out_and_err[0]
    assert made(out) == sorted(f"{record.name}.mask.png" for record in done.values())


def test_what_was_done_is_in_the_report_before_the_next_photo_is(run, tmp_path, out, monkeypatch):
    """A process that is killed with nothing left to say has said it."""
    reported = []
    load = worker.load_smaller

    def note(path, least, **options):
        reported.append(len(report.read(out)))
        return load(path, least, **options)

    monkeypatch.setattr(worker, "load_smaller", note)
    monkeypatch.setattr(worker, "WORKERS", 1)
    assert run(*(save(tmp_path / f"{at}.png") for at in range(10))) == 0
    assert reported[0] == 0 and reported[-1] >= 10 - 1 - 4  # some photos are in hand


def test_after_a_kill_the_next_run_shows_all_that_was_done(run, tmp_path, out, monkeypatch):
    """The lines of the killed are read, its last but for what is torn; its page and table are made up for."""
    photos = [save(tmp_path / f"{name}.png") for name in "abc"]
    assert run(*photos) == 0
    lines = (out / "report.jsonl").read_bytes().splitlines(keepends=True)
    for name in ("report.csv", "report.html"):
        (out / name).unlink()
    (out / "report.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:50])
    before = stamps(out, ".mask.png")
    assert run(*photos, "--resume") == 0
    assert [name for name, at in stamps(out, ".mask.png").items() if at > before[name]] == ["c.mask.png"]
    assert statuses(out) == {f"{name}.png": "done" for name in "abc"}
    assert (out / "report.html").read_text().count("<article") == 3
    assert (out / "report.csv").read_text().count("\n") == 4


def test_half_written_files_of_a_killed_run_are_removed(run, tmp_path, out):
    """Unless they are so young that another program may be at work."""
    photo = save(tmp_path / "photos" / "trip" / "a.png").parents[1]
    assert run(photo, "--recursive") == 0
    (thumbnails,) = (path.parent for path in out.rglob("*.photo.jpg"))
    for folder in (out, out / "trip", thumbnails):
        (folder / ".writing-0123_abc").touch()
        os.utime(folder / ".writing-0123_abc", (1, 1))
        (folder / ".writing-young___").touch()
    assert run(photo, "--recursive") == 0
    assert {path.name for path in out.rglob(".writing-*")} == {".writing-young___"}


def test_a_folder_that_is_removed_while_a_run_writes_is_told(run, tmp_path, out, monkeypatch):
    load = worker.load_smaller

    def remove(path, least, **options):
        if path.stem == "3":
            out.rename(tmp_path / "gone")
        return load(path, least, **options)

    monkeypatch.setattr(worker, "load_smaller", remove)
    with pytest.raises(UserError, match=r"report\.jsonl: cannot be written"):
        run(*(save(tmp_path / f"{at}.png") for at in range(9)))
    assert set(statuses(tmp_path / "gone").values()) <= {"done"}


def test_a_folder_that_takes_the_place_of_a_run_s_gets_none_of_its_pages(run, tmp_path, out, monkeypatch):
    load = worker.load_smaller

    def replace(path, least, **options):
        if out.exists() and not (tmp_path / "gone").exists():
            out.rename(tmp_path / "gone")
            out.mkdir()
            (out / "report.jsonl").write_text("")
        return load(path, least, **options)

    monkeypatch.setattr(worker, "load_smaller", replace)
    with pytest.raises(UserError, match=r"report\.jsonl: cannot be written \(another file is there now\)"):
        run(save(tmp_path / "a.png"))
    assert not (out / "report.csv").exists() and not (out / "report.html").exists()


# Memory.


def memory(kind):
    """What the kernel knows of this process, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return 1024 * int(line.split()[1])


def peak(arguments):
    """By how many bytes the command raises this process's memory at the most."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = memory("VmRSS")
    assert main(arguments) == 0
    return memory("VmHWM") - before


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells of peaks, and forgets")
def test_in_full_memory_grows_by_less_than_10_bytes_a_pixel(weights, tmp_path, monkeypatch):
    """With which an image of 100 megapixels takes less than 2 GB: 1, and what every photo takes.

    Noise makes the largest files. What all photos take is told from a small one, of a stripe all the same; the first
    compiles. In a process of its own, for one with a past has room left in which nothing seems to grow.
    """
    options = f"--weights {weights} --work_size max:64 --out {tmp_path / 'out'} --full --overlay --cutout".split()
    rng, commands = np.random.default_rng(0), []
    small, large = (1400, 1500), (3000, 4000)
    for name, size in {"first": small, "small": small, "large": large}.items():
        photo = tmp_path / f"{name}.jpg"
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(photo, quality=60)
        commands.append([str(photo), *options])
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")  # bytes, that go back to the system at once when freed
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        _, least, most = apart.map(peak, commands)
    assert 7 < (most - least) / (math.prod(large) - math.prod(small)) < 10  # 7: the photo, and its mask as float32


# The console script.


def test_the_console_script_is_the_command(tmp_path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (script,) = setup["options.entry_points"]["console_scripts"].split("\n")[1:]
    name, module, function = re.fullmatch(r"(\w+) = ([\w.]+):(\w+)", script).groups()
    assert name == "sgdbd" and callable(getattr(importlib.import_module(module), function))

    installed = tmp_path / name  # as pip writes it
    installed.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    environment = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    environment["PYTHONPATH"] = str(ROOT)

    def call(*arguments):
        return subprocess.run([sys.executable, installed, *arguments], env=environment, capture_output=True, text=True)

    assert call("--help").stdout.startswith("usage: sgdbd [-h] --out DIR")
    ended = call("--out", tmp_path, "--", "-nowhere.jpg")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: -nowhere.jpg: no such file or folder",
        "error: no photos; name files, or folders that hold some",
    ]


def test_what_the_console_cannot_show_is_no_trouble_nor_is_a_reader_that_goes(weights, tmp_path):
    save(tmp_path / "夕日" / "no text \udcff.png")
    (tmp_path / "夕日" / "犬.jpg").write_bytes(b"no photo")
    out = tmp_path / "結果"
    command = [sys.executable, "-m", "experiments.predict", tmp_path / "夕日", "--weights", weights, "--out", out]
    process = subprocess.Popen(
        [*command, "--work_size", "16"],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    errors = process.stderr.read().decode("cp1252")
    process.stderr.close()
    assert process.wait(60) == 1
    assert f"error: {tmp_path}/\\u5915\\u65e5/\\u72ac.jpg: " in errors and "Traceback" not in errors
    assert made(out) == ["no text \udcff.mask.png"]


def test_a_folder_of_results_without_a_name_is_refused(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main([str(save(tmp_path / "a.png")), "--weights", str(weights), "--out", ""])
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

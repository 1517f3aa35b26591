"""The benchmark's folders of photos: what one photo takes, what a process holds, whose masks they are."""

import functools
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tiny_generators import constant_variables, save_generator

from experiments.benchmark import plan, processes, timing
from sgdbd_jax.errors import UserError
from sgdbd_jax.presets import DEMO

LARGE, SMALL = (40, 60), (20, 30)


@pytest.fixture
def folder(monkeypatch):
    """The part, on tiny photos, with programs that take 2 s to start and then so long a photo; by what its rows say."""
    now = [0.0]
    seconds = {"sgdbd (accurate weights)": {LARGE: 4.0, SMALL: 1.0}, "blur-detector": {SMALL: 6.0}}
    seconds["sgdbd --weights lite"] = {LARGE: 0.5, SMALL: 0.25}
    ran = []

    def masks(program, photos, cache):
        paths = sorted(photos.iterdir())
        height, width = cv2.imread(str(paths[0])).shape[:2]
        now[0] += 2 + len(paths) * seconds[program.name][height, width]
        ran.append((program.name, width, len(paths)))
        return 5 * 10**8 * len(paths)

    monkeypatch.setattr(processes, "DEFAULT", "accurate")
    monkeypatch.setattr(processes, "LARGE", LARGE)
    monkeypatch.setattr(processes, "SMALL", SMALL)
    monkeypatch.setattr(processes, "SECONDS", {LARGE: 0.5, SMALL: 0.2})
    monkeypatch.setattr(processes, "_masks", masks)
    monkeypatch.setattr(timing, "in_turn", functools.partial(timing.in_turn, clock=lambda: now[0]))

    def call(*shipped, **changes):
        def weight_file(name):
            if name not in shipped:
                raise UserError(f"{name}.safetensors: no such file")

        monkeypatch.setattr(processes, "weight_file", weight_file)
        asked = plan.Plan(DEMO, [], 1, 2, [], [], 1, 1, large_photos=2, small_photos=20, **changes)
        return {row.what: row for row in processes.folder(asked, [])}, ran

    return call


def test_a_photo_takes_what_one_more_does_and_the_cold_start_is_apart(folder):
    rows, _ = folder("accurate", "lite")
    found = {what: (row.value, row.at_most, row.met) for what, row in rows.items()}
    assert found == {
        "a photo of 60x40, sgdbd (accurate weights)": (4.0, 0.5, False),
        "one photo of 60x40, cold start, sgdbd (accurate weights)": (6.0, 3, False),
        "peak memory, 60x40, sgdbd (accurate weights)": (2.0, 1, False),
        "a photo of 60x40, sgdbd --weights lite": (0.5, 0.5, True),
        "one photo of 60x40, cold start, sgdbd --weights lite": (2.5, 3, True),
        "peak memory, 60x40, sgdbd --weights lite": (2.0, 1, False),
        "a photo of 30x20, sgdbd (accurate weights)": (1.0, 0.2, False),
        "one photo of 30x20, cold start, sgdbd (accurate weights)": (3.0, 3, True),
        "peak memory, 30x20, sgdbd (accurate weights)": (20.0, 1, False),
        "a photo of 30x20, sgdbd --weights lite": (0.25, 0.2, False),
        "one photo of 30x20, cold start, sgdbd --weights lite": (2.25, 3, True),
        "peak memory, 30x20, sgdbd --weights lite": (20.0, 1, False),
    }


def test_weights_that_are_not_there_are_told(folder):
    rows, ran = folder("accurate")
    assert rows["a photo, sgdbd --weights lite"].note == "lite.safetensors: no such file"
    assert {name for name, _, _ in ran} == {"sgdbd (accurate weights)"}


def test_the_weights_that_sgdbd_takes_by_itself_are_not_named_to_it(monkeypatch):
    monkeypatch.setattr(processes, "DEFAULT", "lite")
    accurate, lite = processes.sgdbd("accurate"), processes.sgdbd("lite")
    assert (accurate.options, accurate.asked) == (("--weights", "accurate"), False)
    assert (lite.options, lite.asked) == ((), True)


def test_blur_detector_gets_a_tenth_of_the_small_photos_and_no_targets(folder):
    rows, ran = folder("accurate", blur_detector=True)
    assert {(width, count) for name, width, count in ran if name == "blur-detector"} == {(30, 1), (30, 2), (30, 4)}
    assert rows["a photo of 30x20, blur-detector"].value == 6.0
    assert rows["sgdbd (accurate weights) against blur-detector, 30x20"].value == 6.0
    assert not any(row.target for what, row in rows.items() if what.endswith("blur-detector"))


def test_a_watched_module_runs_as_by_itself_and_tells_the_most_that_it_held(tmp_path):
    (tmp_path / "holding.py").write_text("import sys, numpy\nnumpy.ones(int(sys.argv[1]), 'uint8')\nsys.exit(3)\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from experiments.benchmark import watched"

    def held(count):
        command = [sys.executable, "-c", f"{script}; watched.main()", tmp_path / "peak", "holding", str(count)]
        assert subprocess.run(command).returncode == 3
        return int((tmp_path / "peak").read_text())

    assert held(3 * 10**8) - held(10) == pytest.approx(3e8, rel=0.1)


def test_sgdbd_runs_on_made_photos_in_a_process_of_its_own(tmp_path):
    weights = save_generator(tmp_path / "tiny.safetensors", constant_variables(0.5))
    processes.write_photos(tmp_path / "photos", 2, SMALL)
    program = processes.Program("sgdbd", "experiments.predict", ("--weights", str(weights), "--work_size", "32"))
    assert 50e6 < processes._masks(program, tmp_path / "photos", tmp_path / "cache") < 2e9
    assert list((tmp_path / "cache").rglob("*-cache"))  # compiled programs, which the next run finds
    with pytest.raises(UserError, match="ended with code 2 .*no photos"):
        (tmp_path / "empty").mkdir()
        processes._masks(program, tmp_path / "empty", tmp_path / "cache")


def test_made_photos_have_grain_on_the_left(tmp_path):
    processes.write_photos(tmp_path, 2, (480, 640), sharp=0.6)
    paths = sorted(tmp_path.iterdir())
    for photo in (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float) for path in paths):
        assert photo.shape == (480, 640)
        rough = np.abs(np.diff(photo, axis=0)).mean(axis=0)
        assert rough[:384].mean() > 2 * rough[400:].mean()
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_blur_detector_makes_a_map_a_photo(tmp_path):
    for module in ("blur_detector", "skimage"):
        pytest.importorskip(module, reason=f"{module} is not installed; experiments/benchmark/README.md says how")
    processes.write_photos(tmp_path / "photos", 1, (64, 96), sharp=0.5)
    processes._python(["-m", "experiments.benchmark.hifst", str(tmp_path / "photos"), "--out", str(tmp_path / "maps")])
    (path,) = (tmp_path / "maps").iterdir()
    sharp = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert sharp.shape == (64, 96)
    assert sharp[:, :40].mean() > sharp[:, 56:].mean()

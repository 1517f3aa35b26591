"""A detector a device: who gets which, and that photos on two devices get the masks of one."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_generators import random_variables, save_generator

from experiments.predict import main
from sgdbd_jax.detection.devices import Detectors

TESTS = Path(__file__).parents[1]


class Named:
    """Stands for a detector; it sees its own name, and fails at a photo that holds it."""

    def __init__(self, name):
        self.name = name

    def on(self, device):
        return Named(device)

    def see(self, photo=()):
        if self.name in photo:
            raise RuntimeError(f"INTERNAL:\n{self.name} failed")
        return self.name


def test_the_first_device_has_the_detector_itself_and_others_serve_while_it_is_taken():
    detector = Named("a")
    detectors = Detectors(detector, ["a", "b", "c"])
    assert len(detectors) == 3 and detectors.detector is detector
    for _ in range(2):  # what was in use is used again
        with detectors.free() as first, detectors.free() as second, detectors.free() as third:
            assert (first(""), second(""), third("")) == ("a", "b", "c")


def test_a_detector_is_free_again_after_a_failure():
    detectors = Detectors(Named("a"), ["a"])
    for _ in range(2):
        with pytest.raises(OSError), detectors.free():
            raise OSError


def test_a_device_without_room_is_left_out_and_told():
    class Full(Named):
        def on(self, device):
            if device == "b":
                raise RuntimeError("RESOURCE_EXHAUSTED:\nout of memory")
            return Named(device)

    lines = []
    detectors = Detectors(Full("a"), ["a", "b", "c"], warn=lines.append)
    assert len(detectors) == 2
    with detectors.free() as first, detectors.free() as second:
        assert (first(""), second("")) == ("a", "c")
    reason = "RESOURCE_EXHAUSTED: out of memory"
    assert lines == [f"b is not used, for it cannot take the detector: {reason}"]


def test_a_further_device_that_fails_leaves_its_photo_to_another_and_is_used_no_more():
    lines = []
    detectors = Detectors(Named("a"), ["a", "b", "c"], warn=lines.append)
    with detectors.free(), detectors.free() as second:
        assert second("b") == "c"
    assert lines == ["b is used no more, for it failed where another did not: INTERNAL: b failed"]
    with detectors.free() as first, detectors.free() as second:
        assert (first(""), second("")) == ("a", "c")


def test_a_photo_at_which_all_devices_fail_costs_none_of_them():
    lines = []
    detectors = Detectors(Named("a"), ["a", "b", "c"], warn=lines.append)
    with contextlib.ExitStack() as first:
        first.enter_context(detectors.free())
        with detectors.free() as second, pytest.raises(RuntimeError, match="a failed"):
            threading.Timer(0.05, first.close).start()
            second("abc")
    with detectors.free() as first, detectors.free() as second, detectors.free() as third:
        assert sorted(see("") for see in (first, second, third)) == ["a", "b", "c"]
    assert not lines


def test_one_device_has_no_other_detector():
    assert len(Detectors(Named("a"))) == 1  # tests have one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of photos, and what the command is told of them."""
    folder = tmp_path_factory.mktemp("devices")
    weights = save_generator(folder / "g.safetensors", random_variables())
    rng = np.random.default_rng(0)
    for at in range(6):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{at}.png")
    return folder, ["--weights", str(weights), "--work_size", "16", *map(str, sorted(folder.glob("*.png")))]


@pytest.fixture(scope="module")
def two(folder):
    """What `two_devices.py` tells, which has left its results in `two`."""
    path, arguments = folder
    command = [sys.executable, "-W", "error", str(TESTS / "two_devices.py"), "--out", str(path / "two"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_both_devices_make_masks_and_they_are_those_of_one(folder, two):
    path, arguments = folder
    assert two["code"] == 0
    assert len(two["seen"]) == 6 and set(two["seen"]) == {0, 1}
    assert main(["--out", str(path / "one"), *arguments]) == 0
    masks = sorted(path.glob("one/*.mask.png"))
    assert len(masks) == 6
    for mask in masks:
        one, other = (np.asarray(Image.open(each)) for each in (mask, path / "two" / mask.name))
        assert one.std() > 1  # so that agreement says something
        np.testing.assert_array_equal(other, one)


def test_a_detector_on_a_device_has_its_parameters_there_and_works_there(two):
    for what in ("there", "there_with_photos_of_another", "parameters"):
        assert two[what] == [1]
    assert two["here"] == two["pickled"] == [0]


def test_a_device_that_jax_is_told_to_use_is_used_alone(two):
    assert (two["detectors"], two["detectors_of_a_default"]) == (2, 1)

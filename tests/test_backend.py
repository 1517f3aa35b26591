"""JAX's start: what is said where it cannot, by the library and by every command; forks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from tiny_runs import QUICK

from experiments import evaluate, predict, results, train
from experiments.benchmark import __main__ as benchmark
from sgdbd_jax import backend
from sgdbd_jax.config import Config
from sgdbd_jax.data.batches import TrainingSets
from sgdbd_jax.data.training_sets import Photos
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.porting.release import convert_discriminator
from sgdbd_jax.training.run import Run

FORKED = "forked from one that had used JAX"


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program that hangs fails."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **QUICK, **environment},
    )


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_platform_that_is_not_there_is_one_line(platform, tmp_path):
    """Without a GPU, JAX 0.10 answers `cuda` by an AssertionError without a word."""
    command = [sys.executable, "-m", "experiments.predict", "photo.jpg", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert re.fullmatch(
        rf"error: JAX_PLATFORMS={platform}: JAX cannot start on it \(.+\); unset JAX_PLATFORMS .*", line
    )
    assert not (tmp_path / "out").exists()


def test_a_setting_that_jax_cannot_read_is_one_line():
    ended = python("from sgdbd_jax.backend import start_jax; start_jax()", JAX_ENABLE_X64="perhaps")
    assert ended.stderr.splitlines()[-1].startswith("sgdbd_jax.errors.UserError: JAX cannot start (invalid truth value")


@pytest.fixture
def without_devices(monkeypatch):
    """JAX as it is with `JAX_PLATFORMS=cuda` and no GPU."""

    def devices():
        raise AssertionError

    monkeypatch.setattr(jax, "local_devices", devices)


SCORING = ["--images", "a", "--masks", "b", "--masks_white", "focused", "--out", "c"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (predict, ["a.jpg", "--out", "c"]),
        (train, []),
        (evaluate, SCORING),
        (results, SCORING),
        (benchmark, ["--out", "c"]),
    ],
)
def test_no_command_begins_without_a_device(command, arguments, without_devices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"JAX cannot start.*\(no such device is found\)"):
        command.main(arguments)
    assert not list(tmp_path.iterdir())


def test_masks_made_earlier_are_scored_without_a_device(without_devices):
    with pytest.raises(UserError, match="a: "):  # of the folder, which is not there
        evaluate.main([*SCORING, "--predictions", "d"])


@pytest.mark.parametrize(
    "use",
    [
        Detector.load,
        lambda: Run(Config(), Path("run"), Photos(TrainingSets([], [], None), None, None)),
        lambda: convert_discriminator({}),
    ],
    ids=["detector", "run", "conversion"],
)
def test_the_library_says_what_commands_say(use, without_devices):
    with pytest.raises(UserError, match=r"JAX cannot start.*\(no such device is found\)"):
        use()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

IN_A_FORK = """
def in_a_fork(work):
    if (child := os.fork()) == 0:
        try:
            print(work())
        except BaseException as error:
            print(type(error).__name__, error)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


@needs_fork
@pytest.mark.parametrize("known", [True, False], ids=["imported before", "imported in the fork"])
def test_no_detector_is_loaded_in_the_fork_of_a_process_that_used_jax(known):
    """Whoever used it there, and whether or not the package had been imported by then."""
    ended = python(
        f"""
import os, sys
import jax.numpy as jnp
{"import sgdbd_jax" if known else ""}
jnp.ones(3).block_until_ready()
{IN_A_FORK}
def load():
    import sgdbd_jax
    return sgdbd_jax.Detector.load()
in_a_fork(load)
"""
    )
    assert ended.stdout.startswith("UserError this process was " + FORKED), ended


@needs_fork
def test_where_jax_was_used_and_nothing_forked_it_goes_on():
    """Also if it was used before the package was imported."""
    ended = python("import jax; jax.devices(); import sgdbd_jax; print(len(sgdbd_jax.backend.start_jax()))")
    assert ended.stdout == "1\n", ended


@needs_fork
def test_a_detector_says_so_in_a_fork_instead_of_hanging_and_works_in_one_made_before():
    """By `multiprocessing` both, which carries the error back."""
    ended = python(
        """
import multiprocessing
import numpy as np
from tiny_generators import CONFIG, random_variables
from sgdbd_jax import Detector
from sgdbd_jax.errors import UserError

photo = np.zeros((16, 16, 3), np.uint8)

def make():
    return Detector(CONFIG, random_variables(), work_size=16)

def mask(_):
    return make()(photo)

forking = multiprocessing.get_context("fork")
with forking.Pool(1) as pool:  # JAX is loaded, and not started
    (early,) = pool.map(mask, [None])
detector = make()
assert np.array_equal(early, detector(photo))
with forking.Pool(1) as pool:
    for work, given in ((detector, photo), (detector.detect, photo[None]), (mask, None)):
        try:
            pool.map(work, [given])
        except UserError as error:
            print(error)
assert np.array_equal(early, detector(photo))  # the parent goes on
""",
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    assert ended.stdout.count(FORKED) == 3, ended


def test_devices_are_those_of_jax():
    assert backend.start_jax() == jax.local_devices()

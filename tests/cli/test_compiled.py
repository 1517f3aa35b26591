"""Compiled programs outlive the command that compiled them, are used only where they fit, and never get in the way."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_generators import random_variables, save_generator

from experiments import train
from sgdbd_jax.cli import compiled
from sgdbd_jax.errors import UserError

ROOT = Path(__file__).parents[2]
CHOSEN = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def environment(cache, **variables):
    """That of a user who has never heard of JAX's variables."""
    clean = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    return clean | {"XDG_CACHE_HOME": str(cache), **variables}


def entries(cache):
    return {path: path.stat().st_mtime_ns for path in (cache / "sgdbd_jax" / "compiled").glob("*/*-cache")}


# The real command.


@pytest.fixture(scope="module")
def predict(tmp_path_factory):
    """Runs the command with a cache folder; gives its mask and its standard error."""
    folder = tmp_path_factory.mktemp("predict")
    weights = save_generator(folder / "g.safetensors", random_variables())
    photo = folder / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(photo)

    def run(cache, **variables):
        out = folder / "out" / cache.name
        options = ["--weights", weights, "--work_size", "32", "--out", out]
        done = subprocess.run(
            [sys.executable, "-m", "experiments.predict", photo, *options],
            cwd=ROOT,
            env=environment(cache, **variables),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        return (out / "a.mask.png").read_bytes(), done.stderr

    return run


@pytest.fixture(scope="module")
def filled(predict, tmp_path_factory):
    """The cache folder that a first run leaves, and the mask it made."""
    cache = tmp_path_factory.mktemp("cache")
    mask, errors = predict(cache)
    assert not re.search("warning|error", errors, re.IGNORECASE)
    assert entries(cache)
    return cache, mask


def test_a_second_run_compiles_nothing_and_gives_the_same_bits(predict, filled):
    cache, mask = filled
    before = entries(cache)
    again, errors = predict(cache, JAX_LOG_COMPILES="1", JAX_EXPLAIN_CACHE_MISSES="1")
    assert "PERSISTENT COMPILATION CACHE MISS" not in errors
    assert errors.count("Persistent compilation cache hit for") == len(before)
    assert (again, entries(cache)) == (mask, before)


def test_damaged_programs_are_compiled_anew_without_a_word(predict, filled):
    cache, mask = filled
    sizes = {path: path.stat().st_size for path in entries(cache)}
    for place, path in enumerate(sizes):
        path.write_bytes(path.read_bytes()[: 100 * (place % 2)])
    again, errors = predict(cache)
    assert again == mask and not re.search("warning|error", errors, re.IGNORECASE)
    assert all(path.stat().st_size > size // 2 for path, size in sizes.items())


# What is decided before JAX is loaded.


def kept(cache, code="", **variables):
    """What `keep` makes of the variables, in a process of its own in which `code` ran before."""
    script = f"{code}\nimport os\nfrom sgdbd_jax.cli import compiled\ncompiled.keep()\n"
    script += f"print(*(os.environ.get(name) for name in {CHOSEN}), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment(cache, **variables), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_programs_are_kept_in_the_users_cache_folder_however_quickly_they_compile(tmp_path):
    folder, seconds = kept(tmp_path)
    assert Path(folder).parent == tmp_path / "sgdbd_jax" / "compiled" and Path(folder).is_dir()
    assert seconds == "0"
    assert kept("", HOME=str(tmp_path / "home"))[0].startswith(str(tmp_path / "home" / ".cache" / "sgdbd_jax"))


def test_what_the_user_has_set_stays(tmp_path):
    assert kept(tmp_path, JAX_COMPILATION_CACHE_DIR="mine") == ["mine", "None"]
    assert kept(tmp_path, JAX_COMPILATION_CACHE_DIR="") == ["", "None"]  # which switches it off
    assert list(tmp_path.iterdir()) == []
    assert kept(tmp_path, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="2")[1] == "2"


def test_a_program_that_has_imported_jax_is_left_alone(tmp_path):
    """Only the name is needed: the variables would come too late."""
    assert kept(tmp_path, "import sys; sys.modules['jax'] = None") == ["None", "None"]
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_that_can_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "file").touch()
    assert kept(tmp_path / "file") == ["None", "None"]
    assert kept(tmp_path, "import os; os.access = lambda *_: False") == ["None", "None"]  # as a disk mounted read-only


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
def test_other_cores_have_other_programs(tmp_path):
    """XLA shares a program's loops out among the cores that it finds, and JAX's key does not tell how many."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("this machine has one core")
    on_one = f"import os; os.sched_setaffinity(0, [{min(cores)}])"
    assert kept(tmp_path)[0] == kept(tmp_path)[0] != kept(tmp_path, on_one)[0]


def test_the_oldest_programs_beyond_the_limit_are_removed(tmp_path, monkeypatch):
    for age in range(5):
        path = tmp_path / f"machine{age % 2}" / f"{age}-cache"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - age, 1000 - age))
    monkeypatch.setattr(compiled, "LIMIT", 30)
    compiled._tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["0-cache", "1-cache", "2-cache"]


@pytest.mark.parametrize("several", [False, True])
def test_of_several_processes_none_keeps_programs_of_its_own(several, monkeypatch):
    """They compile together, and wait for one another there."""
    calls = []
    monkeypatch.setattr(compiled, "keep", lambda: calls.append("keeps"))
    monkeypatch.setattr(train, "_join", lambda options: calls.append("joins"))
    options = ["--coordinator", "127.0.0.1:1", "--num_processes", "2", "--process_id", "0"] if several else []
    with pytest.raises(UserError, match="no/such/folder"):
        train.main(["--source", "no/such/folder", "--clear", "x", "--vgg16", "random", *options])
    assert calls == ["joins" if several else "keeps"]

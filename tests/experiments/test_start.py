"""What happens before a command computes: nothing heavy loads, nothing is written, and what trains starts over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sgdbd_jax
from experiments import COMMANDS
from sgdbd_jax.detection import detector

ROOT = Path(__file__).parents[2]
HEAVY = {"PIL", "flax", "jax", "matplotlib", "numpy", "optax", "orbax", "scipy", "tensorflow_datasets", "torch", "tqdm"}


def test_the_package_and_the_help_of_every_command_load_nothing_heavy_and_write_nothing(tmp_path):
    """Each is run as `python -m` runs it."""
    script = f"""
import os, runpy, sys, sgdbd_jax
os.environ = {{**os.environ, "XDG_CACHE_HOME": {str(tmp_path)!r}}}
for name in ("JAX_COMPILATION_CACHE_DIR", "GLIBC_TUNABLES"):
    os.environ.pop(name, None)
os.execv = lambda *_: print("starts over")
for name in {list(COMMANDS)}:
    sys.argv = [name, "--help"]
    try:
        runpy.run_module(f"experiments.{{name}}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code
print({HEAVY} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nset()\n")
    assert done.stdout.count("usage: python -m experiments.") == len(COMMANDS)
    assert "starts over" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    sys.platform != "linux" or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="needs glibc"
)
def test_a_process_that_trains_starts_over_once_its_command_line_is_understood(tmp_path):
    """Nothing else does: not the same command called as a function, nor one that predicts."""
    script = """
import os, runpy, sys
os.environ.pop("GLIBC_TUNABLES", None)
os.execv = lambda *_: sys.exit("starts over")

def end_of(name, *arguments):
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code

print(end_of("train", "--eta", "much"), end_of("train"), end_of("predict", "no/such/photo.jpg", "--out", "out"))
from experiments import train
try:
    train.main(["--source", "no/such/folder", "--clear", "x", "--vgg16", "random"])
except Exception as error:
    print(type(error).__name__)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "2 starts over 2\nUserError\n", done.stderr


def test_the_list_of_commands_is_what_the_folder_holds_a_line_each():
    files = {path.stem for path in (ROOT / "experiments").glob("[!_]*.py")}
    folders = {path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py")}
    assert COMMANDS.keys() == files | folders
    listed = subprocess.run(
        [sys.executable, "-m", "experiments"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name, line in COMMANDS.items():
        assert [text.split(maxsplit=1)[1] for text in listed if text.split()[:1] == [name]] == [line]


def test_the_detector_is_at_the_top_of_the_package():
    assert sgdbd_jax.Detector is detector.Detector
    with pytest.raises(AttributeError, match="module 'sgdbd_jax' has no attribute 'Generator'"):
        _ = sgdbd_jax.Generator

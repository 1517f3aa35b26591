"""What may load when: reading a command line needs nothing that computes."""

import subprocess
import sys
from pathlib import Path

import pytest

import sgdbd_jax
from sgdbd_jax.detection import detector

ROOT = Path(__file__).parents[2]
HEAVY = {"PIL", "flax", "jax", "matplotlib", "numpy", "optax", "orbax", "scipy", "tensorflow_datasets", "torch", "tqdm"}
COMMANDS = ("benchmark.__main__", "convert_release", "evaluate", "port_vgg16", "predict", "train")


def test_the_package_and_the_help_of_every_command_load_nothing_heavy_and_write_nothing(tmp_path):
    script = f"""
import importlib, os, sys, sgdbd_jax
del os.environ["JAX_COMPILATION_CACHE_DIR"]
os.environ["XDG_CACHE_HOME"] = {str(tmp_path)!r}
for name in {COMMANDS}:
    try:
        importlib.import_module(f"experiments.{{name}}").main(["--help"])
    except SystemExit:
        pass
print({HEAVY} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nset()\n")
    assert done.stdout.count("usage: python -m experiments.") == len(COMMANDS)
    assert list(tmp_path.iterdir()) == []


def test_the_detector_is_at_the_top_of_the_package():
    assert sgdbd_jax.Detector is detector.Detector
    with pytest.raises(AttributeError, match="module 'sgdbd_jax' has no attribute 'Generator'"):
        _ = sgdbd_jax.Generator

"""The shipped weights: found, whole, and good for something."""

import hashlib
import json

import pytest

from sgdbd_jax import shipped as module
from sgdbd_jax.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    (tmp_path / "manifest.json").write_text(json.dumps({"a.safetensors": hashlib.sha256(b"weights").hexdigest()}))
    monkeypatch.setattr(module, "_folder", lambda: tmp_path)
    module.shipped.cache_clear()
    yield tmp_path
    module.shipped.cache_clear()


def test_a_whole_file_is_found(folder):
    assert module.shipped("a.safetensors") == folder / "a.safetensors"


def test_a_file_that_is_not_the_shipped_one_is_refused(folder):
    (folder / "a.safetensors").write_bytes(b"weight")
    with pytest.raises(
        UserError, match=r"a\.safetensors: is not the file that was shipped \(SHA-256 \w{12}\.\.\., not"
    ):
        module.shipped("a.safetensors")


def test_an_installation_without_weights_says_so(folder):
    with pytest.raises(
        UserError, match=r"b\.safetensors: no such file, this installation has no weights; pass a weight"
    ):
        module.shipped("b.safetensors")

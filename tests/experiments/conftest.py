"""Fixtures of the commands' tests."""

from pathlib import Path

import pytest
from tiny_generators import constant_variables, save_generator


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a generator that says 0.75 of every pixel."""
    return save_generator(tmp_path_factory.mktemp("weights") / "g.safetensors", constant_variables(0.75))

"""Fixtures of all test files."""

import os
from collections.abc import Iterator
from pathlib import Path

from quick import FLAGS

# Here and in the processes that tests start. Before JAX is imported, which reads it.
os.environ.setdefault("XLA_FLAGS", FLAGS)

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps compiled programs for the session, of all its workers and of the processes that tests start.

    The user's cache folder is left alone.
    """
    own = tmp_path_factory.getbasetemp()  # a worker's lies in the session's
    folder = str((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        compilation_cache.reset_cache()  # it may have been asked for something on import
        yield


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a generator that says 0.75 of every pixel."""
    from tiny_generators import constant_variables, save_generator

    return save_generator(tmp_path_factory.mktemp("weights") / "g.safetensors", constant_variables(0.75))


SLOW = (
    "test_train.py",
    "test_distributed.py",
    "test_resume.py",  # after test_train.py, whose programs it finds compiled
    "test_notebook.py",
    "test_targets.py",
    "test_benchmark.py",
    "test_campaign.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the order below: xdist would begin with the files that have the most tests, which are the quick ones."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes come first, so that no worker is left with one of them at the end."""
    places = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: places.get(item.path.name, len(SLOW)))

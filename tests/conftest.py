"""Fixtures of all test files."""

from collections.abc import Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps compiled programs for the session, of tests and of the processes that they start.

    The user's cache folder is left alone.
    """
    folder = str(tmp_path_factory.getbasetemp() / "compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        compilation_cache.reset_cache()  # it may have been asked for something on import
        yield


SLOW = ("training", "experiments", "detection", "models", "game")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rooms whose files take longest come first, so that no worker is left with one of them at the end."""
    rooms = {room: place for place, room in enumerate(SLOW)}
    items.sort(key=lambda item: rooms.get(item.path.parent.name, len(SLOW)))

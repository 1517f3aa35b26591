"""Packages that only the baselines need."""

import importlib
from types import ModuleType

from sgdbd_jax.errors import Unavailable

PACKAGES = {"skimage": "scikit-image", "sklearn": "scikit-learn"}  # by the modules' first names


def needed(module: str, purpose: str) -> ModuleType:
    """A module of a package that may not be installed.

    Raises:
        Unavailable: it is not.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = PACKAGES[module.partition(".")[0]]
        raise Unavailable(f"{purpose}: needs {package}; pip install 'sgdbd_jax[baselines]'") from error

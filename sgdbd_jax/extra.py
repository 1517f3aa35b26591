"""Packages that only some parts need: the extras."""

import importlib
from types import ModuleType

from sgdbd_jax.errors import Unavailable

PACKAGES = {  # by the modules' first names: what is installed, and the extra that brings it
    "av": ("PyAV", "video"),
    "flatbuffers": ("flatbuffers", "export"),
    "fsspec": ("fsspec", "ray"),
    "onnx": ("onnx", "export"),
    "onnxruntime": ("onnxruntime", "export"),
    "pyarrow": ("pyarrow", "ray"),
    "ray": ("Ray Data", "ray"),
    "skimage": ("scikit-image", "baselines"),
    "sklearn": ("scikit-learn", "baselines"),
    "starlette": ("starlette", "serve"),
    "uvicorn": ("uvicorn", "serve"),
}


def needed(module: str, purpose: str) -> ModuleType:
    """A module of a package that may not be installed.

    Raises:
        Unavailable: it is not.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package, extra = PACKAGES[module.partition(".")[0]]
        raise Unavailable(f"{purpose}: needs {package}; pip install 'sgdbd_jax[{extra}]'") from error

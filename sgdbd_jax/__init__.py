"""Defocus blur detection learned without a single mask of focus, in JAX.

`sgdbd_jax.Detector` makes masks of photos; it loads JAX when it is first asked for, not before.
"""

from typing import TYPE_CHECKING, Any

from sgdbd_jax import backend as backend  # sees forks from here on

if TYPE_CHECKING:
    from sgdbd_jax.detection.detector import Detector

__all__ = ["Detector"]
__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    if name == "Detector":
        from sgdbd_jax.detection.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

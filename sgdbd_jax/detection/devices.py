"""A detector for each device of this process, such as each GPU of a machine."""

import contextlib
import queue
import warnings
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from sgdbd_jax.backend import start_jax
from sgdbd_jax.detection.detector import Detector, Seen


class Detectors:
    """A detector and its like on this process's other devices; each thread takes one that is free.

    Those that have been in use come first: the others may yet have to compile. A device that cannot take the
    parameters, since another program fills it or it is out of order, is left out. So is, from then on, one other than
    the first that fails at a photo which another manages.

    Args:
        detector: stands for the first device.
        devices: by default all that this process has, or the first alone where `jax_default_device` is set.
        warn: takes a line on a device that is not used, or no more.

    Attributes:
        detector: the one that was given, for work that needs no network.
    """

    def __init__(
        self,
        detector: Detector,
        devices: Sequence[jax.Device] | None = None,
        *,
        warn: Callable[[str], object] = warnings.warn,
    ) -> None:
        if devices is None:
            devices = start_jax()
            if getattr(jax.config, "jax_default_device", None) is not None:
                devices = devices[:1]
        self.detector, self._warn = detector, warn
        taken = [(detector, devices[0])]
        for device in devices[1:]:
            try:
                taken.append((detector.on(device), device))
            except RuntimeError as error:  # JAX's own are such
                warn(f"{device} is not used, for it cannot take the detector: {_line(error)}")
        self._count = len(taken)
        self._free: queue.LifoQueue[tuple[Detector, jax.Device]] = queue.LifoQueue()
        for each in reversed(taken):
            self._free.put(each)

    def __len__(self) -> int:
        """How many devices there are at first."""
        return self._count

    @contextlib.contextmanager
    def free(self) -> Iterator[Callable[[np.ndarray], Seen]]:
        """Waits for a detector, which nobody else has meanwhile, for its network takes the whole device.

        Yields:
            Its `see`; a photo at which a device fails is passed on to others, at last to the first.
        """
        taken = [self._free.get()]

        def see(photo: np.ndarray) -> Seen:
            detector, device = taken[0]
            try:
                return detector.see(photo)
            except RuntimeError as error:
                if detector is self.detector:
                    raise
                with self.free() as see_elsewhere:  # the first is never kept from others, so that none waits for ever
                    seen = see_elsewhere(photo)
                taken.clear()
                self._warn(f"{device} is used no more, for it failed where another did not: {_line(error)}")
                return seen

        try:
            yield see
        finally:
            for each in taken:
                self._free.put(each)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

"""The machine that computes, as far as it decides what a compiled program is and what it gives."""

import hashlib
import itertools
import os
import platform
from pathlib import Path


def described() -> str:
    """The processor, how many cores of it there are, and what else JAX computes on, in words."""
    import jax

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    devices = sorted({device.device_kind for device in jax.local_devices() if device.platform != "cpu"})
    name = names[0] if names else platform.processor() or platform.machine()
    return ", ".join([name, f"{_cores()} core{'s' * (_cores() != 1)}", *devices])


def machine() -> str:
    """Names what a compiled program depends on and JAX's key for it leaves out: the processor, and how many cores.

    On a CPU it is machine code, its loops shared out among the cores that the process may use.

    Returns:
        12 hexadecimal digits, the same on equal machines.
    """
    kind = [platform.machine(), str(_cores())]
    try:
        with open("/proc/cpuinfo") as lines:
            first = itertools.takewhile(str.strip, lines)
            fields = ("vendor", "cpu family", "model", "flags", "CPU ", "Features")  # not its clock, which varies
            kind += [line for line in first if line.startswith(fields)]
    except OSError:  # not Linux
        kind.append(platform.node())
    return hashlib.sha256("\n".join(kind).encode()).hexdigest()[:12]


def _cores() -> int | None:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

"""Runs a module as a command, and writes the most bytes that its process held resident:

    python -m experiments.benchmark.watched FILE MODULE ARGUMENT...

What the parent of a process learns of it (`getrusage`) would not do: that begins at what the parent itself has held.
"""

import atexit
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Takes the place of `python -m MODULE ARGUMENT...`."""
    file, module, *arguments = sys.argv[1:]
    atexit.register(write_peak, Path(file))
    sys.argv[1:] = arguments  # the name in front of them is the module's own to set
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def write_peak(file: Path) -> None:
    """Writes this process's mark, in bytes."""
    from experiments.benchmark.timing import resident_memory

    file.write_text(str(resident_memory("VmHWM")))


if __name__ == "__main__":
    main()

"""A command of the program in a process of its own, with faults that only its inside can have.

python -m campaign.child FAULT[:WORD] ... -- MODULE ARGUMENT ...
"""

import contextlib
import os
import runpy
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def shallow() -> None:
    """A trunk of one convolution a block, for what matters here is not the network, and it takes long to trace."""
    from sgdbd_jax.models import vgg16

    vgg16.BLOCKS = tuple(block[-1:] for block in vgg16.BLOCKS)


def flushing(seconds: str) -> None:
    """A report as often as that, in place of each minute: runs here take seconds."""
    from sgdbd_jax.folders import run

    run.SAVE_EVERY = float(seconds)


def clock_back(hours: str) -> None:
    """The clock is set back, again and again: each second time that it is looked at."""
    real, looks = time.time, [0]
    real_ns = time.time_ns

    def back() -> float:
        looks[0] += 1
        return 3600 * float(hours) * (looks[0] % 2)

    time.time = lambda: real() - back()
    time.time_ns = lambda: real_ns() - int(1e9 * back())


def handles(most: str) -> None:
    """No more open files than that many above those that are open once all is imported."""
    import resource

    def limit() -> None:
        opened = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + int(most), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    _before_work(limit)


def removing(folder: str) -> None:
    """A folder is removed when the fifth photo is read, or the third checkpoint written."""

    def remove() -> None:
        gone = f"{folder}-removed"  # at once, whoever writes there meanwhile
        os.rename(folder, gone)
        shutil.rmtree(gone)

    _at(remove)


def locking(folder: str) -> None:
    """A folder becomes read-only at the same moments."""
    import subprocess

    def lock() -> None:  # by a mount above, for one with files that are open to be written cannot become so
        for options in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
            subprocess.run(["mount", *options], check=True, capture_output=True)

    _at(lock)


def replacing(pair: str) -> None:
    """A photo is overwritten by another while it is read: half of its bytes have been."""
    old, new = pair.split("=")
    _while_read(old, lambda: Path(old).write_bytes(Path(new).read_bytes()))


def truncating(photo: str) -> None:
    """A photo is cut to nothing while it is read."""
    _while_read(photo, lambda: os.truncate(photo, 0))


def replacing_after(pair: str) -> None:
    """A photo is overwritten by another once it has been read, before its mask is written."""
    from sgdbd_jax.folders import worker

    old, new = pair.split("=")
    load = worker.load_photo

    def load_and_replace(path: Path, **options: Any) -> Any:
        pixels = load(path, **options)
        if str(path) == old:
            Path(old).write_bytes(Path(new).read_bytes())
        return pixels

    worker.load_photo = load_and_replace


def scoring_stops(change: str) -> None:
    """Between the check of all files and their scoring, a file is overwritten by another, or a folder removed."""
    from sgdbd_jax.evaluation import pairs

    check = pairs.check_pairs

    def check_and_change(*arguments: Any, **options: Any) -> Any:
        result = check(*arguments, **options)
        old, _, new = change.partition("=")
        if new:
            Path(old).write_bytes(Path(new).read_bytes())
        else:
            shutil.rmtree(old)
        return result

    pairs.check_pairs = check_and_change


def _before_work(act: Callable[[], None]) -> None:
    """Once a command's imports are done: its weights have been read, or its photos."""
    from sgdbd_jax.data import training_sets
    from sgdbd_jax.detection.detector import Detector

    load, load_photos = Detector.load, training_sets.load_photos

    def load_and_act(*arguments: Any, **options: Any) -> Any:
        detector = load(*arguments, **options)
        act()
        return detector

    def load_photos_and_act(*arguments: Any, **options: Any) -> Any:
        photos = load_photos(*arguments, **options)
        act()
        return photos

    Detector.load, training_sets.load_photos = load_and_act, load_photos_and_act


def _at(act: Callable[[], None]) -> None:
    from sgdbd_jax.folders import worker

    load, count = worker.load_photo, [0]

    def load_and_act(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == 5:
            act()
        return load(*arguments, **options)

    worker.load_photo = load_and_act
    with contextlib.suppress(ImportError):
        from sgdbd_jax.training.checkpoint import Checkpoints

        save, saves = Checkpoints.save, [0]

        def save_and_act(self: Checkpoints, *arguments: Any, **options: Any) -> None:
            saves[0] += 1
            if saves[0] == 3:
                act()
            save(self, *arguments, **options)

        Checkpoints.save = save_and_act


def _while_read(photo: str, act: Callable[[], object]) -> None:
    """Acts once, when half of a photo's bytes have been read."""
    path_open = Path.open

    def opened(self: Path, *arguments: Any, **options: Any) -> Any:
        file = path_open(self, *arguments, **options)
        if str(self) != photo:
            return file
        return _Interrupted(self, act)

    Path.open = opened


class _Interrupted:
    """A file for reading, something happening to it on the way."""

    def __init__(self, path: Path, act: Callable[[], object]) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 it is the caller's to close
        self._half, self._act, self._read = os.path.getsize(path) // 2, act, 0

    def read(self, size: int = -1) -> bytes:
        data = b""
        while size < 0 or len(data) < size:
            left = self._half if size < 0 else size - len(data)
            part = self._file.read(min(max(left, 1), 512))
            self._read += len(part)
            data += part
            if self._read >= self._half and self._act is not None:
                self._act()
                self._act = None
            if not part:
                break
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Interrupted":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)


FAULTS: dict[str, Callable[..., None]] = {
    fault.__name__: fault
    for fault in (
        *(shallow, flushing, clock_back, handles, removing, locking, replacing, truncating, replacing_after),
        scoring_stops,
    )
}


def main(argv: Sequence[str]) -> None:
    """Brings the faults about, and runs the command."""
    from sgdbd_jax.cli import compiled

    compiled.keep()  # before anything imports JAX, as a command does it first
    split = argv.index("--")
    for fault in argv[:split]:
        name, _, word = fault.partition(":")
        FAULTS[name](*[word] if word else [])
    module, *arguments = argv[split + 1 :]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

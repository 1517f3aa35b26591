"""The program's commands on tiny inputs, in processes of their own, and what their results are compared by."""

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tiny_generators
import tiny_runs
from PIL import Image

from sgdbd_jax.training.log import read_log

from . import ROOT, TESTS
from .cases import CACHE, Crashed, Hung, Lost

SECONDS = 900.0  # that a command may take: it takes ten on two cores, and more while others work there
FLUSH = 0.5  # seconds between two reports of a folder run
SAME = {"path", "name", "status", "error", "width", "height", "focus", "score", "share", "unknown", "flags", "settings"}
FIELDS: dict[str, object] = {  # of a training: every stage, folders of photos, a checkpoint every other step
    "scenes": None,
    "steps": 10,
    "warm_steps": 5,
    "classifier_steps": 5,
    "disc_warm_steps": 5,
    "checkpoint_every": 2,
    "validate_every": 100,
    "grid_every": 100,
}


class Command:
    """A command that runs.

    Args:
        folder: for what it prints; made.
        faults: of `child`.
        argv: the command's module and arguments.
        environment: more variables.
    """

    def __init__(
        self, folder: Path, faults: Sequence[str], argv: Sequence[object], *, environment: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.told = folder / f"stderr-{time.monotonic_ns()}.txt"
        self.started = time.monotonic()
        base = os.environ | tiny_runs.QUICK | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # else it starts twice
        base |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
        if "PYTEST_CURRENT_TEST" not in base:  # tests keep compiled programs elsewhere
            base.pop("JAX_COMPILATION_CACHE_DIR", None)
        with self.told.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "campaign.child", *faults, "--", *map(str, argv)],
                cwd=ROOT,
                env=base | {"XDG_CACHE_HOME": str(cache(folder)), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def kill(self, after: float) -> bool:
        """Kills it so many seconds after its start; whether it was still running."""
        try:
            self.process.wait(max(0.0, self.started + after - time.monotonic()))
            return False
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            return True

    def end(self) -> tuple[int, str]:
        """Waits for its end; gives the exit code and what it said, progress bars left out.

        Raises:
            Hung: it does not end.
            Crashed: it died, or said a traceback.
        """
        try:
            code = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise Hung(f"no end after {SECONDS:.0f} s") from error
        lines = self.told.read_text(errors="replace").replace("\r", "\n").splitlines()
        said = "\n".join(line for line in lines if line.strip() and "it/s]" not in line and "%|" not in line)
        if code < 0:
            raise Crashed(f"died with {signal.Signals(-code).name}; {said[-300:]}")
        if "Traceback" in said:
            raise Crashed(f"a traceback: {' '.join(said.split())[-400:]}")
        return code, said

    def succeed(self) -> None:
        """Waits for an end without trouble.

        Raises:
            Lost: it ends with a code other than 0.
        """
        code, said = self.end()
        if code:
            raise Lost(f"a run without trouble ended with {code}: {said[-400:]}")

    def refuse(self, *words: str, codes: Sequence[int] = (2,)) -> str:
        """Waits for an end with one line that names the trouble; gives the line.

        Raises:
            Lost: another end.
        """
        code, said = self.end()
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        if code not in codes:
            raise Lost(f"ended with {code}, not {codes}: {said[-400:]}")
        if not errors or not any(all(word in line for word in words) for line in errors):
            raise Lost(f"no error names {' and '.join(words)}: {said[-400:]}")
        if code == 2 and len(errors) > 1:
            raise Lost(f"several errors: {said[-400:]}")
        return next(line for line in errors if all(word in line for word in words))


def cache(folder: Path) -> Path:
    """Where compiled programs are kept: of the whole campaign, or else of all commands below this folder; made."""
    above = next((each for each in [folder, *folder.parents] if (each / CACHE).is_dir()), folder)
    (above / CACHE).mkdir(parents=True, exist_ok=True)
    return above / CACHE


# Photos, weights, truths.


def make_photos(folder: Path, count: int, *, size: tuple[int, int] = (60, 80)) -> Path:
    """Photos of noise, coarse on one side and fine on the other, each other ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        photo = rng.integers(0, 256, (*size, 3), np.uint8)
        coarse = np.repeat(np.repeat(photo[::8, ::8], 8, axis=0), 8, axis=1)[: size[0], : size[1]]
        photo[:, : size[1] // 2] = coarse[:, : size[1] // 2]
        Image.fromarray(photo).save(folder / f"{number:04}.{'png' if number % 2 else 'jpg'}")
    return folder


def make_masks(folder: Path, count: int, *, size: tuple[int, int] = (60, 80)) -> Path:
    """Ground truths of these photos, white = in focus: the fine side, of another width each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mask = np.zeros(size, np.uint8)
        mask[:, size[1] // 2 + number % 8 :] = 255
        Image.fromarray(mask).save(folder / f"{number:04}.png")
    return folder


def make_weights(path: Path) -> Path:
    """A tiny generator's."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny_generators.save_generator(path, tiny_generators.random_variables())
    return path


# Commands, as argument lists.


def predict(photos: Path, out: Path, weights: Path, *more: object) -> list[object]:
    """A folder run that may go on from an earlier one."""
    options = ["--out", out, "--weights", weights, "--work_size", 32, "--resume", "--overlay", *more]
    return ["experiments.predict", photos, *options]


def train(photos: Path, workdir: Path) -> list[object]:
    """A training of every stage."""
    changes = {"source": photos, "clear": photos} | FIELDS
    return ["experiments.train", *tiny_runs.arguments(workdir, **changes)]


def evaluate(images: Path, masks: Path, out: Path, weights: Path) -> list[object]:
    """Scores of a generator."""
    options = ["--masks_white", "focused", "--weights", weights, "--work_size", 32, "--out", out]
    return ["experiments.evaluate", "--images", images, "--masks", masks, *options]


# What results are compared by.


def digest(data: bytes) -> str:
    """A short name of bytes."""
    return hashlib.sha256(data).hexdigest()[:12]


def folder_results(out: Path, photos: Path | None = None) -> dict[str, str]:
    """Every file of a folder run by its digest; how long photos took is left out, and so are unfinished files.

    Args:
        out: folder of the results.
        photos: their folder, if its name is to be left out; then what the pages show is left out too.
    """
    found = {}
    for path in sorted(out.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        data = path.read_bytes()
        if path.suffix in (".jsonl", ".csv"):
            data = _rows(path.suffix, data.decode("utf-8")).replace(str(photos), "photos").encode()
        elif photos is not None and path.suffix != ".png":
            continue
        found[path.relative_to(out).as_posix()] = digest(data)
    return found


def _rows(suffix: str, text: str) -> str:
    """A report's rows, in the order of their photos, without what no two runs share."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    rows = list(table) if suffix == ".csv" else [json.loads(line) for line in text.split("\n") if line]
    kept = [{name: value for name, value in row.items() if name in SAME} for row in rows]
    return json.dumps(sorted(kept, key=lambda row: row["path"]))


def training_results(workdir: Path) -> dict[str, str]:
    """What a training leaves by its digest, the last checkpoints' arrays and every logged step included."""
    found = {}
    for path in sorted(workdir.rglob("*")):
        name = path.relative_to(workdir).as_posix()
        if path.suffix in (".safetensors", ".png") or name in ("result.json", "config.json"):
            found[name] = digest(path.read_bytes())
    for stage in sorted((workdir / "checkpoints").iterdir()):
        steps = sorted(int(path.name) for path in stage.iterdir() if path.name.isdecimal())
        found[f"checkpoints/{stage.name}"] = str(steps[-1]) if steps else "none"
    rows = [{name: value for name, value in row.items() if name != "seconds_per_step"} for row in read_log(workdir)]
    return found | {"metrics.jsonl": digest(json.dumps(rows).encode())}


def files(out: Path) -> dict[str, str]:
    """Every file by its digest."""
    return {
        path.relative_to(out).as_posix(): digest(path.read_bytes())
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def assert_same(found: dict[str, str], wanted: dict[str, str]) -> None:
    """Compares results with those of an undisturbed run.

    Raises:
        Lost: they differ.
    """
    different = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if different:
        raise Lost(f"not as after an undisturbed run: {', '.join(different[:5])} and {max(0, len(different) - 5)} more")

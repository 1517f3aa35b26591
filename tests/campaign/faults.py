"""The machine fails in mid-run: full disks, folders that vanish or may not be written, clocks, handles, other writers.

Survived is what ends with a line that names the trouble, keeps what was finished, and, the trouble gone, ends with the
same command where an undisturbed run does.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from . import commands
from .cases import Case, Family, Lost, Skipped, attempt
from .commands import FLUSH, Command
from .kills import AT_A_TIME, reported

PHOTOS = 24
FLUSHING = f"flushing:{FLUSH}"


class Bench:
    """What all cases share: photos, weights, and the results of undisturbed runs, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        commands.cache(folder)
        self.folder, self._locks = folder, {name: threading.Lock() for name in ("predict", "train", "evaluate")}
        self.photos = commands.make_photos(folder / "photos", PHOTOS)
        self.masks = commands.make_masks(folder / "masks", PHOTOS)
        self.weights = commands.make_weights(folder / "weights.safetensors")
        self._done: dict[str, dict[str, str]] = {}

    def undisturbed(self, name: str) -> dict[str, str]:
        """Results of an undisturbed run of a command."""
        with self._locks[name]:
            if name not in self._done:
                run = {"predict": Predict, "train": Train, "evaluate": Evaluate}[name](self, f"undisturbed {name}")
                run.start().succeed()
                self._done[name] = run.results()
        return self._done[name]


class Work:
    """A command with files of its own.

    Attributes:
        photos: a copy of the shared photos; masks: of their truths.
        out: where it writes.
    """

    name = ""

    def __init__(self, bench: Bench, place: str) -> None:
        self.bench, self.place = bench, bench.folder / place.replace(" ", "_")
        self.photos, self.masks, self.out = (self.place / part for part in ("photos", "masks", "out"))
        self.place.mkdir(parents=True)
        shutil.copytree(bench.photos, self.photos)
        shutil.copytree(bench.masks, self.masks)

    def argv(self) -> list[object]:
        raise NotImplementedError

    def results(self) -> dict[str, str]:
        raise NotImplementedError

    def start(self, *faults: str, **environment: str) -> Command:
        """Starts it, with these faults of `child`."""
        return Command(self.place, [*self.always, *faults], self.argv(), environment=environment)

    always: Sequence[str] = ()

    def finish(self) -> None:
        """The trouble gone, the same command must end where an undisturbed run does."""
        kept = self.kept()
        self.start().succeed()
        commands.assert_same(self.results(), self.bench.undisturbed(self.name))
        if redone := [name for name, stamp in kept.items() if self.kept().get(name) != stamp]:
            raise Lost(f"finished work done twice: {redone[:3]}")

    def kept(self) -> dict[str, int]:
        """Stamps of the files that must not be made again."""
        return {}


class Predict(Work):
    name, always = "predict", (FLUSHING,)

    def argv(self) -> list[object]:
        return commands.predict(self.photos, self.out, self.bench.weights)

    def results(self) -> dict[str, str]:
        return commands.folder_results(self.out, self.photos)

    def kept(self) -> dict[str, int]:
        files = {name: self.out / f"{name}.mask.png" for name in reported(self.out)}
        return {name: path.stat().st_mtime_ns for name, path in files.items() if path.exists()}

    def whole(self) -> int:
        """How many masks there are, all of them whole."""
        wanted, found = self.bench.undisturbed(self.name), self.results()
        if broken := [name for name in found if name.endswith(".png") and found[name] != wanted.get(name)]:
            raise Lost(f"not what an undisturbed run writes: {broken[:3]}")
        return sum(name.endswith(".mask.png") for name in found)


class Train(Work):
    name, always = "train", ("shallow",)

    def argv(self) -> list[object]:
        return commands.train(self.photos, self.out)

    def results(self) -> dict[str, str]:
        # The config names the folder of the photos.
        return {name: value for name, value in commands.training_results(self.out).items() if name != "config.json"}


class Evaluate(Work):
    name = "evaluate"

    def argv(self) -> list[object]:
        return commands.evaluate(self.photos, self.masks, self.out, self.bench.weights)

    def results(self) -> dict[str, str]:
        return commands.files(self.out)


# What it takes to bring the troubles about.


def _mount(*arguments: object) -> None:
    if os.geteuid():
        raise Skipped("it takes root to mount a small disk")
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"mount refuses: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder: Path, left: int) -> Iterator[Callable[[], None]]:
    """A disk on which so many bytes are left; what is yielded frees it."""
    folder.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", "size=32m", "tmpfs", folder)
    try:
        filler = folder / ".filler"
        with filler.open("wb") as file:
            file.write(b"\1" * (shutil.disk_usage(folder).free - left))
        yield filler.unlink
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def bound(folder: Path, *, read_only: bool) -> Iterator[None]:
    """A folder as a mount of its own, which may be read-only or become so."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("--bind", folder, folder)
    try:
        if read_only:
            _mount("-o", "remount,ro,bind", folder)
        yield
    finally:
        while subprocess.run(["umount", "-l", folder], capture_output=True).returncode == 0:
            pass  # a command may have put another above


# The cases.


def full_disk(kind: type[Work], left: int, bench: Bench, place: str) -> str:
    """The disk has no more room than that."""
    work = kind(bench, place)
    with small_disk(work.out, left) as free:
        told = work.start().refuse("No space left" if kind is not Train else "")
        finished = work.whole() if isinstance(work, Predict) else 0
        free()
        work.finish()
        return f"{told}; {finished} masks were finished"


def read_only(kind: type[Work], bench: Bench, place: str) -> str:
    """The folder of the results may not be written."""
    work = kind(bench, place)
    with bound(work.out, read_only=True):
        told = work.start().refuse("Read-only")
    work.finish()
    return told


def locked(kind: type[Work], bench: Bench, place: str) -> str:
    """It may not be written any more, from some moment of the run on."""
    work = kind(bench, place)
    with bound(work.out, read_only=False):
        told = work.start(f"locking:{work.out}").refuse("Read-only")
    work.finish()
    return told


def read_only_cache(kind: type[Work], bench: Bench, place: str) -> str:
    """The folder of compiled programs may not be written."""
    work = kind(bench, place)
    with bound(work.place / "cache", read_only=True):
        work.start(XDG_CACHE_HOME=str(work.place / "cache")).succeed()
    commands.assert_same(work.results(), bench.undisturbed(kind.name))
    return "went on"


def out_removed(kind: type[Work], bench: Bench, place: str) -> str:
    """The folder of the results is removed in mid-run: the run says so, or has everything at its end."""
    work = kind(bench, place)
    code, said = work.start(f"removing:{work.out}").end()
    gone = [name for name in reported(work.out) if not (work.out / f"{name}.mask.png").exists()]
    if gone:
        raise Lost(f"reported as done, and gone: {sorted(gone)[:3]}; {said[-200:]}")
    if code == 0:
        commands.assert_same(work.results(), bench.undisturbed(kind.name))
    elif not any(line.startswith("error: ") and str(work.out) in line for line in said.splitlines()):
        raise Lost(f"no error names {work.out}: {said[-300:]}")
    work.finish()
    return said.splitlines()[-1] if said else "everything is there"


def photos_removed(bench: Bench, place: str) -> str:
    """The folder of the photos is removed in mid-run: those left are named, those done stay done."""
    work = Predict(bench, place)
    told = work.start(f"removing:{work.photos}").refuse("no such file", codes=(1,))
    if not work.whole():
        raise Lost("no mask is left of those that were finished")
    shutil.copytree(bench.photos, work.photos)
    work.start().succeed()
    commands.assert_same(work.results(), bench.undisturbed(work.name))
    return told


def photos_removed_from_training(bench: Bench, place: str) -> str:
    """A training goes on without its photos' folder, or says so."""
    work = Train(bench, place)
    code, said = work.start(f"removing:{work.photos}").end()
    if code and "error: " not in said:
        raise Lost(f"ended with {code}: {said[-300:]}")
    shutil.copytree(bench.photos, work.photos)
    work.finish()
    return f"ended with {code}"


def clock_back(kind: type[Work], bench: Bench, place: str) -> str:
    """The clock is set back an hour, again and again."""
    work = kind(bench, place)
    work.start("clock_back:1").succeed()
    commands.assert_same(work.results(), bench.undisturbed(kind.name))
    work.finish()
    return "went on"


def photos_of_tomorrow(bench: Bench, place: str) -> str:
    """Photos bear a later time than the clock shows: what is done is not done again for that."""
    work = Predict(bench, place)
    for path in work.photos.iterdir():
        stamp = path.stat().st_mtime_ns + 86_400 * 10**9
        os.utime(path, ns=(stamp, stamp))
    work.start().succeed()
    work.finish()
    return "nothing done twice"


def another_photo_with_an_old_time(bench: Bench, place: str) -> str:
    """A photo is replaced by one that bears an older time than its mask: it is another photo all the same."""
    work = Predict(bench, place)
    right = (work.photos / "0004.jpg").read_bytes()
    shutil.copy(work.photos / "0006.jpg", work.photos / "0004.jpg")
    work.start().succeed()
    (work.photos / "0004.jpg").write_bytes(right)
    os.utime(work.photos / "0004.jpg", (0, 0))
    work.start().succeed()
    commands.assert_same(work.results(), bench.undisturbed(work.name))
    return "made anew"


def checkpoints_of_any_time(bench: Bench, place: str) -> str:
    """The times of a killed training's files say nothing of their order."""
    work, rng = Train(bench, place), np.random.default_rng(0)
    undisturbed = bench.undisturbed(work.name)
    command = work.start()
    while not list(work.out.glob("checkpoints/game/4")) and command.process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(0.01)
    command.kill(0)
    for path in work.out.rglob("*"):
        moment = int(rng.integers(1, 2 * 10**9))
        os.utime(path, (moment, moment))
    work.start().succeed()
    commands.assert_same(work.results(), undisturbed)
    return "went on"


def few_handles(kind: type[Work], most: int, bench: Bench, place: str) -> str:
    """No more than so many files can be open at once."""
    work = kind(bench, place)
    code, said = work.start(f"handles:{most}").end()
    if code and not any(line.startswith("error: ") for line in said.splitlines()):
        raise Lost(f"ended with {code}: {said[-300:]}")
    kept = work.kept() if isinstance(work, Predict) else {}
    work.start().succeed()
    commands.assert_same(work.results(), bench.undisturbed(kind.name))
    if redone := [name for name, stamp in kept.items() if work.kept().get(name) != stamp]:
        raise Lost(f"finished work done twice: {redone[:3]}")
    return f"ended with {code}; {said.splitlines()[-1] if said else ''}"


def photo_spoilt_while_read(how: str, bench: Bench, place: str) -> str:
    """A photo is overwritten, or cut, while it is read; it is whole again when the next run comes."""
    work = Predict(bench, place)
    photo = work.photos / "0004.jpg"
    right = photo.read_bytes()
    fault = f"replacing:{photo}={work.photos / '0006.jpg'}" if how == "replaced" else f"truncating:{photo}"
    code, said = work.start(fault).end()
    if code not in (0, 1):
        raise Lost(f"ended with {code}: {said[-300:]}")
    photo.write_bytes(right)
    work.start().succeed()
    commands.assert_same(work.results(), bench.undisturbed(work.name))
    return f"ended with {code}"


def photo_replaced_before_its_mask(bench: Bench, place: str) -> str:
    """A photo is replaced between its reading and the writing of its mask, which is then younger than the photo."""
    work = Predict(bench, place)
    photo, right = work.photos / "0004.jpg", bench.photos / "0004.jpg"
    shutil.copy(work.photos / "0006.jpg", photo)
    work.start(f"replacing_after:{photo}={right}").succeed()
    work.start().succeed()
    commands.assert_same(work.results(), bench.undisturbed(work.name))
    return "made anew"


def truth_changed_before_scoring(how: str, bench: Bench, place: str) -> str:
    """Between check and scoring a truth becomes text, or all truths are gone: the line names the file."""
    work = Evaluate(bench, place)
    text = work.place / "text"
    text.write_text("no mask")
    change = f"{work.masks / '0004.png'}={text}" if how == "spoilt" else str(work.masks)
    told = work.start(f"scoring_stops:{change}").refuse(str(work.masks))
    shutil.copytree(bench.masks, work.masks, dirs_exist_ok=True)
    work.finish()
    return told


CASES: list[tuple[str, Callable[[Bench, str], str]]] = [
    *(
        (f"{kind.name}: {left // 1000} KB left on the disk", functools.partial(full_disk, kind, left))
        for kind, sizes in ((Predict, (0, 100_000, 250_000)), (Train, (0, 300_000, 900_000)), (Evaluate, (8_000,)))
        for left in sizes
    ),
    *((f"{kind.name}: results read-only", functools.partial(read_only, kind)) for kind in (Predict, Train, Evaluate)),
    *((f"{kind.name}: results become read-only", functools.partial(locked, kind)) for kind in (Predict, Train)),
    *((f"{kind.name}: cache read-only", functools.partial(read_only_cache, kind)) for kind in (Predict, Evaluate)),
    *((f"{kind.name}: results removed", functools.partial(out_removed, kind)) for kind in (Predict, Train)),
    ("predict: photos removed", photos_removed),
    ("train: photos removed", photos_removed_from_training),
    *((f"{kind.name}: clock set back", functools.partial(clock_back, kind)) for kind in (Predict, Train)),
    ("predict: photos of tomorrow", photos_of_tomorrow),
    ("predict: another photo with an old time", another_photo_with_an_old_time),
    ("train: checkpoints of any time", checkpoints_of_any_time),
    *(
        (f"{kind.name}: {most} file handles left", functools.partial(few_handles, kind, most))
        for kind, mosts in ((Predict, (1, 3, 8)), (Train, (1, 6, 20)), (Evaluate, (1, 4)))
        for most in mosts
    ),
    *(
        (f"predict: a photo {how} while it is read", functools.partial(photo_spoilt_while_read, how))
        for how in ("replaced", "cut")
    ),
    ("predict: a photo replaced before its mask is written", photo_replaced_before_its_mask),
    *(
        (f"evaluate: truths {how} before scoring", functools.partial(truth_changed_before_scoring, how))
        for how in ("spoilt", "removed")
    ),
]


def run(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """Tries cases of the list; a seed is a place in it."""
    bench = Bench(folder)

    def one(seed: int) -> Case:
        what, trial = CASES[seed]
        return attempt(seed, what, lambda: trial(bench, str(seed)))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield from pool.map(one, seeds)


FAMILIES = [Family("faults", "disks, folders, clocks, handles, other writers", len(CASES), 3, run)]

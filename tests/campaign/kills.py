"""Kills at random moments: whoever goes on ends bit for bit where an undisturbed run does, and does nothing twice."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sgdbd_jax.training.log import read_log

from . import commands
from .cases import Case, Family, Lost, attempt
from .commands import FIELDS, FLUSH, Command

PHOTOS = 150  # of a folder run, which then takes as long as the start before it
AT_A_TIME = 2  # rounds: much of each keeps one core busy
STARTING = 1 / 3  # of a run's time
SLACK = 3.0  # seconds that a report may be late: a machine has more to do


def _rounds(
    seeds: Sequence[int],
    folder: Path,
    undisturbed: Callable[[], float],
    round_: Callable[[np.random.Generator, Path, float, float], str],
) -> Iterator[Case]:
    """A round a seed, some at a time, each in a folder of its own that goes when all is well.

    Args:
        seeds: of the rounds.
        folder: to work in.
        undisturbed: makes what rounds are compared with, and gives how long that took with compiled programs kept.
        round_: kills and goes on, and tells what came of it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    commands.cache(folder)
    seconds: list[float] = []
    first = attempt(seeds[0], "the undisturbed run", lambda: str(seconds.append(undisturbed())))
    if first.outcome != "survived":
        yield first
        return

    def one(seed: int) -> Case:
        rng = np.random.default_rng(seed)
        share, place = rng.uniform(), folder / str(seed)
        case = attempt(seed, f"killed at {share:.0%}", lambda: round_(rng, place, share, seconds[0]))
        if case.outcome == "survived":
            shutil.rmtree(place, ignore_errors=True)
        return case

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield from pool.map(one, seeds)


def _kill(
    start: Callable[[], Command],
    rng: np.random.Generator,
    share: float,
    seconds: float,
    progress: Callable[[], float],
    fresh: Callable[[], None],
) -> str:
    """Kills a command somewhere on its way, and tells where: a machine with more to do is slower than it was.

    Args:
        start: starts it.
        rng: source of the last moments before the kill.
        share: of the way; the first third is told by the clock, for then there is nothing else to tell it by.
        seconds: that an undisturbed run takes.
        progress: how much of the work is done, in [0, 1].
        fresh: makes the place as it was, should the command have ended before.
    """
    while True:
        command = start()
        if share < STARTING:
            killed = command.kill(share * seconds)
        else:
            wanted = (share - STARTING) / (1 - STARTING)
            while command.process.poll() is None and progress() < wanted:
                time.sleep(0.003)
            killed = command.kill(time.monotonic() - command.started + rng.uniform(0, 0.2))
        if killed:
            return f"killed after {time.monotonic() - command.started:.1f} s, at {progress():.0%} of its work"
        share *= rng.uniform(0.7, 0.95)
        fresh()


def _drop_programs(folder: Path, rng: np.random.Generator) -> None:
    """Takes some compiled programs away, so that the kill may hit one that is being written."""
    kept = sorted(path for path in commands.cache(folder).rglob("*") if path.is_file())
    for path in kept:
        if rng.random() < 0.05:
            path.unlink(missing_ok=True)


def trainings(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """Rounds of a training."""
    photos, reference = folder / "photos", folder / "undisturbed"
    every = int(str(FIELDS["checkpoint_every"]))

    def start(place: Path) -> Command:
        return Command(place, ["shallow"], commands.train(photos, place / "run"))

    def undisturbed() -> float:
        commands.make_photos(photos, 8)
        start(reference).succeed()  # compiles
        shutil.rmtree(reference / "run")
        command = start(reference)
        command.succeed()
        return time.monotonic() - command.started

    def round_(rng: np.random.Generator, place: Path, share: float, seconds: float) -> str:
        _drop_programs(folder, rng)
        steps = len(read_log(reference / "run"))
        told = _kill(
            lambda: start(place),
            rng,
            share,
            seconds,
            lambda: len(read_log(place / "run")) / (steps + 1),  # the last step is not the end
            lambda: shutil.rmtree(place / "run", ignore_errors=True),
        )
        lost = _unsaved(place / "run")
        if lost > every:
            raise Lost(f"{lost} steps are to be done again, a checkpoint is promised every {every}")
        start(place).succeed()
        commands.assert_same(commands.training_results(place / "run"), commands.training_results(reference / "run"))
        return f"{told}; {lost} steps done again"

    yield from _rounds(seeds, folder, undisturbed, round_)


def _unsaved(workdir: Path) -> int:
    """Logged steps of the stage at work that have no checkpoint."""
    rows = read_log(workdir)
    if not rows:
        return 0
    stage = rows[-1]["stage"]
    kept = (workdir / "checkpoints" / stage).glob("[0-9]*")
    saved = max((int(path.name) for path in kept if path.name.isdecimal()), default=0)
    return max(row["step"] for row in rows if row["stage"] == stage) - saved


def folder_runs(seeds: Sequence[int], folder: Path) -> Iterator[Case]:
    """Rounds of a folder run with `--resume`."""
    photos, weights, reference = folder / "photos", folder / "weights.safetensors", folder / "undisturbed"

    def start(place: Path) -> Command:
        return Command(place, [f"flushing:{FLUSH}"], commands.predict(photos, place / "out", weights))

    def undisturbed() -> float:
        commands.make_photos(photos, PHOTOS)
        commands.make_weights(weights)
        start(reference).succeed()
        shutil.rmtree(reference / "out")
        command = start(reference)
        command.succeed()
        return time.monotonic() - command.started

    def round_(rng: np.random.Generator, place: Path, share: float, seconds: float) -> str:
        _drop_programs(folder, rng)
        out = place / "out"
        told = _kill(
            lambda: start(place),
            rng,
            share,
            seconds,
            lambda: len(_masks(out)) / (PHOTOS + 1),
            lambda: shutil.rmtree(out, ignore_errors=True),
        )
        killed = time.time()
        known, before = reported(out), _masks(out)
        if missing := sorted(known - before.keys()):
            raise Lost(f"reported as done, and not there: {missing[:3]}")
        late = [name for name, (_, at) in before.items() if name not in known and killed - at > FLUSH + SLACK]
        if late:
            raise Lost(f"{len(late)} results were older than {FLUSH + SLACK} s and not reported: {late[:3]}")
        start(place).succeed()
        after = _masks(out)
        if again := sorted(name for name in known if after.get(name) != before[name]):
            raise Lost(f"done twice: {again[:3]} and {max(0, len(again) - 3)} more")
        commands.assert_same(commands.folder_results(out), commands.folder_results(reference / "out"))
        return f"{told}; {len(known)} photos reported, {len(before) - len(known)} done again"

    yield from _rounds(seeds, folder, undisturbed, round_)


def reported(out: Path) -> set[str]:
    """Names of the photos that a report calls done; a last line cut short is none."""
    path, names = out / "report.jsonl", set()
    for line in path.read_text("utf-8", errors="replace").split("\n") if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row.get("status") == "done":
            names.add(row["name"])
    return names


def _masks(out: Path) -> dict[str, tuple[int, float]]:
    """What tells a mask's file from one written later, and when it was written, by name."""
    ending = ".mask.png"
    found = ((path.relative_to(out).as_posix(), path.stat()) for path in out.rglob(f"*{ending}"))
    return {name.removesuffix(ending): (stat.st_ino, stat.st_mtime) for name, stat in found}


FAMILIES = [
    Family("training_kills", "a training killed at a random moment", 20, 1, trainings),
    Family("folder_kills", "a folder run killed at a random moment", 20, 1, folder_runs),
]

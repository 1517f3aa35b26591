"""Many small cases in processes of their own, with bounds on time and memory; the case that breaks one is found.

A process is handed a list of cases and says, before each, which it begins. If it dies or is too slow, the case that it
had begun is the culprit, and another process goes on after it.
"""

import contextlib
import importlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sgdbd_jax.errors import UserError

from . import ROOT, TESTS
from .cases import Case, Ended, Lost, one_line, place

# Makes a case of a seed: what it is, in words, and the trial, which tells what came of it. A `UserError` of the trial
# is a survival too, any other exception a crash.
Task = Callable[[int, Path], tuple[str, Callable[[], str]]]

SECONDS = 10.0  # that a case may take
BYTES = 2 << 30  # of memory that the process may come to hold meanwhile
START = 120.0  # seconds for the imports of a process


def run(
    task: str, seeds: Sequence[int], folder: Path, *, size: int = 200, seconds: float = SECONDS, memory: int = BYTES
) -> Iterator[Case]:
    """Tries cases, a batch a process.

    Args:
        task: the `Task`, as `campaign.MODULE:FUNCTION`.
        seeds: of the cases.
        folder: to work in.
        size: cases a batch.
        seconds: a case's bound.
        memory: the process's bound, in bytes.

    Yields:
        A case a seed, in order.
    """
    waiting = list(seeds)
    while waiting:
        ended = 0
        for case in _batch(task, waiting[:size], folder, seconds, memory):
            ended += 1
            yield case
        del waiting[: max(ended, 1)]


def _batch(task: str, seeds: Sequence[int], folder: Path, seconds: float, memory: int) -> Iterator[Case]:
    """The cases of one process, up to the one that breaks it."""
    errors = (folder / "stderr.txt").open("w+", errors="replace")
    process = subprocess.Popen(
        [sys.executable, "-m", "campaign.batches", task, str(folder), str(memory), *map(str, seeds)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    said: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(process.stdout, said), daemon=True).start()
    seed, what, begun = seeds[0], "the start of the process", time.monotonic()
    patience = START
    try:
        while True:
            try:
                word = said.get(timeout=max(0.0, begun + patience - time.monotonic()))
            except queue.Empty:
                if seed is None:  # it does not end, with all done
                    return
                yield Case("", seed, what, "hung", f"no end after {patience:.0f} s", patience)
                return
            if word is None:  # the process has ended, before the case or after the last
                process.wait()
                if seed is not None:
                    yield Case("", seed, what, "crashed", _death(process, errors), round(time.monotonic() - begun, 3))
                return
            if "outcome" in word:
                outcome, detail, took = word["outcome"], word["detail"], word["seconds"]
                if took > seconds and outcome == "survived":
                    outcome, detail = "hung", f"took {took:.1f} s; {detail}"
                yield Case("", word["seed"], what, outcome, detail, round(took, 3))
                seed, begun = None, time.monotonic()
            elif "what" in word:
                what, begun, patience = word["what"], time.monotonic(), seconds
            else:
                seed, what, begun, patience = word["seed"], "the making of the case", time.monotonic(), START
    finally:
        process.kill()
        process.wait()
        errors.close()


def _listen(pipe: Any, said: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    for line in pipe:
        with contextlib.suppress(ValueError):  # a line cut short by death
            said.put(json.loads(line))
    said.put(None)
    pipe.close()


def _death(process: subprocess.Popen, errors: Any) -> str:
    errors.seek(0)
    last = " ".join(errors.read()[-300:].split())
    code = process.returncode
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the process ended with {cause}; {last}".rstrip("; ")


def main(argv: Sequence[str]) -> None:
    """The process's side: tries the cases one by one, and says so on what was standard output."""
    name, folder, memory, *seeds = argv
    voice = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no word of ours
    module, _, function = name.partition(":")
    task: Task = getattr(importlib.import_module(module), function)
    # A belt only: what counts is what is held, below.
    most = _status("VmSize") + 2 * int(memory)
    if _status("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for seed in map(int, seeds):
        print(json.dumps({"seed": seed}), file=voice)
        outcome, detail, took = "survived", "", 0.0
        try:
            what, trial = task(seed, Path(folder))
            print(json.dumps({"seed": seed, "what": what}), file=voice)
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
            started = time.monotonic()
            try:
                detail = _bounded(trial, int(memory))
            finally:
                took = time.monotonic() - started
        except Ended as error:
            outcome, detail = error.outcome, str(error)
        except BaseException as error:
            outcome, detail = "crashed", f"{one_line(error)}, at {place(error)}"
        print(json.dumps({"seed": seed, "outcome": outcome, "detail": detail, "seconds": took}), file=voice)


def _bounded(trial: Callable[[], str], memory: int) -> str:
    try:
        detail = trial()
    except UserError as error:
        detail = f"refused: {error}"
        if len(str(error).splitlines()) != 1:
            raise Lost(f"a message of several lines, or none: {str(error)!r}") from error
    except MemoryError as error:
        raise Lost("asked for more memory than twice the bound") from error
    if "MemoryError" in detail:  # one that was taken for damage
        raise Lost(f"asked for more memory than twice the bound; {detail}")
    peak = _status("VmHWM")
    if peak > memory:
        raise Lost(f"held {peak / 1e9:.1f} GB; {detail}")
    return detail


def _status(field: str) -> int:
    """Bytes that Linux's kernel counts of this process; 0 elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])

"""Photos on a cluster, by Ray Data: finds what is to be done, shares it out, and keeps the report."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import math
import os
import queue
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sgdbd_jax.cluster import places, report
from sgdbd_jax.cluster.places import Folder, Found, RemotePhoto
from sgdbd_jax.cluster.work import ClusterWorker, Ledger, Task
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError, shown
from sgdbd_jax.extra import needed
from sgdbd_jax.folders.naming import fitting, name_results
from sgdbd_jax.folders.plan import Request, settings_of
from sgdbd_jax.folders.record import failure
from sgdbd_jax.folders.run import Outcome

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 16  # photos that a worker is given at a time, which a worker that dies costs at the most
SHARE = 20_000  # photos a worker for which Ray makes a plan at a time, which bounds the memory
SAVE_EVERY = 30  # seconds after which what was done is reported, which the end of this process costs at the most
POLL = 0.5  # seconds after which it is asked whether to stop
PATIENCE = 5  # seconds for rows that are on their way when the run is stopped


def run(
    request: Request,
    found: Found,
    folder: Folder,
    *,
    address: str,
    workers: int | None,
    say: Callable[[str], None],
    should_stop: Callable[[], bool],
    progress: Callable[[int], object],
) -> Outcome:
    """Makes the results of photos on a cluster; whichever photos fail, workers die, and however the run ends.

    The report is `report.parquet` in the folder.

    Args:
        request: what is wanted; its `out` plays no part.
        found: the photos, and the arguments that gave none.
        folder: of the results.
        address: of a cluster; empty: one is made of this machine.
        workers: how many detectors; `None`: one a GPU or, where there are none, one a machine.
        say: takes a line for the user.
        should_stop: whether to end after the photos in hand.
        progress: called with how many photos are done with.

    Raises:
        UserError: the report cannot be read or written, no more results can, or the cluster cannot be used.
    """
    settings = settings_of(request, request.settings(), clip=False)
    task = Task(folder.path if folder.local else folder.url, request.results, settings, request.max_pixels)
    jobs, again = _plan(request, found, folder, settings, say)
    before, ends = len(found.photos) - len(jobs), collections.Counter[str]()
    with joined(address) if jobs else contextlib.nullcontext():
        rows = _rows(jobs, request.load_detector(), task, workers, should_stop) if jobs else iter(())
        report.take_out(folder, again)
        with _report_of(folder) as add:
            add(report.table([report.row(failure(path, "", why), "") for path, why in found.refused.items()]))
            progress(before)
            for arrived in rows:
                for line in itertools.chain.from_iterable(arrived["notes"].to_pylist()):
                    say(line)
                fatal = arrived["fatal"].to_numpy()
                told = arrived.filter(~fatal).drop_columns(["notes", "fatal"])
                add(told)
                if not ends["done"]:
                    _check_shared(folder, told)
                ends.update(told["status"].to_pylist())
                progress(len(told))
                if fatal.any():
                    raise UserError(arrived["error"].to_pylist()[int(fatal.argmax())])
    return Outcome(
        done=before + ends["done"],
        done_before=before,
        failed=ends["failed"] + len(found.refused),
        left=len(jobs) - ends.total(),
    )


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
    """A cluster to work on: that of an address or, without one, of this machine.

    Raises:
        UserError: there is none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or what is left of a run that ended would start a cluster
    ray = needed("ray", "--ray")
    needed("ray.data", "--ray")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if not address:
        quiet["include_dashboard"] = False
    try:
        with _silence(), _own_signals():
            ray.init(address or "local", **quiet)
    except Exception as error:
        what = f"the cluster at {address} cannot be joined" if address else "no cluster can be started here"
        raise UserError(f"--ray: {what} ({places.reason(error)})") from error
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # Ray tells there of workers that die
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drops what is written to standard error: Ray tells there that it was told to be silent."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps what signals do as it was: Ray would end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _report_of(folder: Folder) -> Iterator[Callable[[pa.Table], None]]:
    """Keeps rows in the report, now and then and at the end.

    Raises:
        UserError: they cannot be written.
    """
    waiting: list[pa.Table] = []
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        if waiting:
            report.write(folder, waiting)
            waiting.clear()
        saved = time.monotonic()

    def add(rows: pa.Table) -> None:
        if len(rows):
            waiting.append(rows)
        if time.monotonic() > saved + SAVE_EVERY:
            save()

    try:
        yield add
    finally:
        save()


def shares(nodes: Sequence[dict[str, float]], workers: int | None) -> tuple[int, dict[str, float]]:
    """How many workers a cluster gets, and what Ray keeps for each.

    A network on a CPU takes all cores. Where there are GPUs, each gets a worker; else each machine gets one, and those
    with twice the cores of the least two.

    Args:
        nodes: of each machine, what it has, as Ray tells it.
        workers: how many are asked for, if any.

    Raises:
        UserError: that many do not fit.
    """
    kind = "GPU" if any(node.get("GPU", 0) >= 1 for node in nodes) else "CPU"
    counts = [int(node.get(kind, 0)) for node in nodes if node.get(kind, 0) >= 1]
    most = sum(counts)
    if not most:
        raise UserError("--ray: no machine of the cluster has a CPU for us")
    if workers is not None and workers > most:
        raise UserError(f"--ray_workers {workers}: the cluster has {most} {kind}{'s' * (most != 1)}; ask for less")
    if kind == "GPU":
        return workers or most, {"num_gpus": 1, "num_cpus": 0}
    wanted = workers or len(counts)
    sizes = range(min(counts) if workers is None else max(counts), 0, -1)
    cores = next(size for size in sizes if sum(count // size for count in counts) >= wanted)
    return workers or sum(count // cores for count in counts), {"num_cpus": cores}


def _plan(
    request: Request, found: Found, folder: Folder, settings: str, say: Callable[[str], None]
) -> tuple[list[tuple[RemotePhoto, str]], set[str]]:
    """The photos to work on, with the names of their results; and what the report says already that will be anew."""
    earlier = report.read(folder)
    names = name_results(found.photos, {path: done.name for path, done in earlier.items() if done.name})
    sizes = folder.sizes() if request.resume and earlier else {}

    def is_done(job: tuple[RemotePhoto, str]) -> bool:
        photo, name = job
        done = earlier.get(photo.absolute)
        if done is None or not request.resume or not (done.done and done.identity):
            return False
        if (done.settings, done.name, done.files.keys()) != (settings, name, set(request.results.endings)):
            return False
        if any(sizes.get(name + ending) != size for ending, size in done.files.items()):
            return False
        return done.identity == (photo.identity or places.identity_of(photo.absolute))

    jobs = []
    every = list(zip(found.photos, names, strict=True))
    for (photo, name), done in zip(every, work_ahead(is_done, every, workers=places.THREADS)):
        if done:
            continue
        if name != photo.place:
            why = "is too long" if photo.place != fitting(photo.place) else "was taken"
            say(f"warning: {shown(photo.absolute)}: its results are called {shown(name)}; its name {why}")
        jobs.append((photo, name))
    return jobs, earlier.keys() & {*(photo.absolute for photo, _ in jobs), *found.refused}


def _rows(
    jobs: Sequence[tuple[RemotePhoto, str]],
    detector: Detector,
    task: Task,
    workers: int | None,
    should_stop: Callable[[], bool],
) -> Iterator[pa.Table]:
    """What the workers say, each photo once, in no order."""
    ray, pa = needed("ray", "--ray"), needed("pyarrow", "--ray")
    from ray.data import ActorPoolStrategy, DataContext
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    count, resources = shares([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ledger = (
        ray.remote(Ledger).options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here).remote()
    )
    shared, idle_since = ray.put(detector), math.inf
    each = max(1, min(BATCH, len(jobs) // (4 * count)))
    for start in range(0, len(jobs), SHARE * count):
        part = jobs[start : start + SHARE * count]
        names = [{"path": photo.absolute, "name": name, "identity": photo.identity} for photo, name in part]
        blocks = [pa.Table.from_pylist(names[first : first + each]) for first in range(0, len(names), each)]
        results = ray.data.from_arrow(blocks).map_batches(
            ClusterWorker,
            fn_constructor_args=(shared, task, ledger),
            batch_size=each,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=count),
            **resources,  # that workers are restarted, and their photos given out again, is Ray Data's default
        )
        for rows in _arriving(results):
            if rows is not None:
                yield rows
            if should_stop():
                if not ray.get(ledger.stop.remote()):
                    idle_since = math.inf
                elif time.monotonic() > (idle_since := min(idle_since, time.monotonic())) + PATIENCE:
                    return
        if should_stop():
            return


def _arriving(results: Any) -> Iterator[pa.Table | None]:
    """The batches of a data set as they come; while none comes, every now and then nothing.

    Raises:
        UserError: the cluster fails.
    """
    arrived = queue.SimpleQueue[Any]()

    def wait() -> None:
        try:
            for rows in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                arrived.put(rows)
            arrived.put(StopIteration())
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=wait, daemon=True).start()
    while True:
        try:
            rows = arrived.get(timeout=POLL)
        except queue.Empty:
            yield None
            continue
        if isinstance(rows, StopIteration):
            return
        if isinstance(rows, Exception):
            raise UserError(f"--ray: {_cause(rows).removeprefix('--ray: ')}") from rows
        if isinstance(rows, BaseException):
            raise rows
        yield rows


def _cause(error: BaseException) -> str:
    """What went wrong on a worker: in its own words if it told it, else in Ray's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or getattr(cause, "cause", None)
    if told := re.search(
        r"sgdbd_jax\.errors\.\w+: (.+)", str(error)
    ):  # of a worker that did not start, it has text alone
        return told[1]
    return f"the cluster failed ({places.reason(error)})"  # type: ignore[arg-type]


def _check_shared(folder: Folder, rows: pa.Table) -> None:
    """Refuses a folder that other machines have under the same path, and this one does not see."""
    done = [cells for cells in rows.select(["name", "status"]).to_pylist() if cells["status"] == "done"]
    if folder.local and done and not os.path.exists(f"{folder.path}/{done[0]['name']}.mask.png"):
        raise UserError(
            f"{folder.url}: is not the folder that the cluster's machines write to; name one that all share"
        )

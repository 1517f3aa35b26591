"""Work in threads, a little ahead of whoever wants its results."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sgdbd_jax.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # called with the photos done and their whole number


def work_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, ahead: int | None = None
) -> Iterator[Result]:
    """Does `work` on every item in threads: Pillow, NumPy and SciPy compute outside the interpreter's lock.

    Closed early, it waits only for what has begun.

    Args:
        work: called with an item.
        items: any number, even without end; each is taken only when its work can begin.
        workers: threads; by default one a core.
        ahead: how many results are made ahead of the one asked for, which is what bounds the memory; by default as
            many as keep all threads busy.

    Yields:
        What `work` returns, in the order of the items.

    Raises:
        Whatever `work` does, in the place of its result.
    """
    workers = workers or os.cpu_count() or 1
    waiting: collections.deque = collections.deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > (2 * workers if ahead is None else ahead):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_all(
    read: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Result | UserError]:
    """Reads every item in threads; one that cannot be read does not keep the others from being read.

    Args:
        read: called with an item.
        items: what to read.
        workers: threads; by default one a core.
        progress: called after each item.

    Yields:
        What `read` returns, in the order of the items; its `UserError` in the place of an item that it refuses.
    """

    def attempt(item: Item) -> Result | UserError:
        try:
            return read(item)
        except UserError as error:
            return error

    for done, result in enumerate(work_ahead(attempt, items, workers=workers), start=1):
        yield result
        if progress is not None:
            progress(done, len(items))

"""Work in threads, a little ahead of whoever wants its results."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def work_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, ahead: int | None = None
) -> Iterator[Result]:
    """Does `work` on every item in threads: Pillow, NumPy and SciPy compute outside the interpreter's lock.

    Closed early, it waits only for what has begun.

    Args:
        work: called with an item.
        items: as many as one likes; none is taken before its time.
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

"""Memory for large arrays that is not given back to the system between two steps."""

import os
import sys

HUGE = "glibc.malloc.hugetlb=1"
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep(*, restart: bool = True) -> None:
    """Lets glibc's allocator keep what it has, in huge pages; elsewhere than under glibc it does nothing.

    A step on a CPU takes gigabytes and gives them back; to take them anew costs a page fault for every 4 KiB, which
    was a tenth of a step, and another tenth is saved by huge pages. These glibc only takes from the environment, so the
    process starts over, once. To be called before anything else; without `restart`, as in a pool, huge
    pages are had where the parent has them.
    """
    if sys.platform != "linux" or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""):
        return
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if restart and "glibc.malloc.hugetlb" not in tunables:
        os.environ["GLIBC_TUNABLES"] = f"{tunables}:{HUGE}".lstrip(":")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    import ctypes

    libc = ctypes.CDLL(None)
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1)):
        libc.mallopt(option, value)

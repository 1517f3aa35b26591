"""Large arrays in huge pages, for commands that train."""

import os
import sys

HUGE = "glibc.malloc.hugetlb=1"


def use_huge_pages() -> None:
    """Starts this process over, with glibc's allocator asking for huge pages; elsewhere than under glibc does nothing.

    A training step on a CPU takes gigabytes and gives them back, and each time the system hands them out anew, a page
    of 4 KiB at a time. glibc reads the wish from the environment when a process starts, so the process starts again,
    once, with the same command line. Call it when that has been parsed, and before anything is loaded or written; not
    where a command is called as a function, in a process that is another's.
    """
    if sys.platform != "linux" or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""):
        return
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.executable and "glibc.malloc.hugetlb" not in tunables:
        os.environ["GLIBC_TUNABLES"] = f"{tunables}:{HUGE}".lstrip(":")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

"""Large arrays in huge pages."""

import os
import sys

HUGE = "glibc.malloc.hugetlb=1"


def use_huge_pages() -> None:
    """Lets glibc's allocator ask for huge pages; elsewhere than under glibc it does nothing.

    A step on a CPU takes gigabytes and gives them back; to take them anew costs a page fault for every 4 KiB, which
    was a tenth of a step. glibc takes the wish from the environment alone, so the process starts over, once. To be
    called before anything else.
    """
    if sys.platform != "linux" or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""):
        return
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.executable and "glibc.malloc.hugetlb" not in tunables:
        os.environ["GLIBC_TUNABLES"] = f"{tunables}:{HUGE}".lstrip(":")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

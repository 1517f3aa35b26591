"""Memory in huge pages, for a process that starts over with the arguments it had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

USE = "import sys; from sgdbd_jax.cli import allocator; allocator.use_huge_pages(); "
FAULTS = """
import resource

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**28  # given back at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
"""
CHOICE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="needs glibc"
)


def python(program, *arguments, **environment):
    env = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | environment
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_glibc
@pytest.mark.skipif(
    not CHOICE.is_file() or "[madvise]" not in CHOICE.read_text(), reason="needs huge pages for those who ask"
)
def test_large_arrays_cost_a_page_fault_for_two_mebibytes():
    assert int(python(USE + FAULTS)) < 1000  # 256 MiB: 128
    assert int(python(FAULTS)) > 10_000  # 65536; so that the line above says something


@needs_glibc
def test_the_process_starts_over_with_its_arguments_and_once():
    show = "import os; print(sys.argv[1:], os.environ['GLIBC_TUNABLES'])"
    assert python(USE + show, "a b", "--c") == "['a b', '--c'] glibc.malloc.hugetlb=1\n"
    asked = python(USE + show, GLIBC_TUNABLES="glibc.malloc.check=0")
    assert asked == "[] glibc.malloc.check=0:glibc.malloc.hugetlb=1\n"
    assert python(USE + show, GLIBC_TUNABLES="glibc.malloc.hugetlb=0") == "[] glibc.malloc.hugetlb=0\n"


def test_elsewhere_nothing_happens(monkeypatch):
    from sgdbd_jax.cli import allocator

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("started over"))
    allocator.use_huge_pages()

"""Memory is kept between steps, by a process that starts over with the arguments it had."""

import os
import subprocess
import sys

import pytest

KEEP = "import sys; from experiments import allocator; allocator.keep(); "
FAULTS = """
import resource

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**28  # given back at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""
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
def test_memory_taken_again_costs_no_page_faults():
    assert int(python(KEEP + FAULTS)) < 100
    assert int(python(FAULTS)) > 1000  # so that the line above says something


@needs_glibc
def test_the_process_starts_over_with_its_arguments_and_once():
    show = "import os; print(sys.argv[1:], os.environ['GLIBC_TUNABLES'])"
    assert python(KEEP + show, "a b", "--c") == "['a b', '--c'] glibc.malloc.hugetlb=1\n"
    asked = python(KEEP + show, GLIBC_TUNABLES="glibc.malloc.check=0")
    assert asked == "[] glibc.malloc.check=0:glibc.malloc.hugetlb=1\n"
    assert python(KEEP + show, GLIBC_TUNABLES="glibc.malloc.hugetlb=0") == "[] glibc.malloc.hugetlb=0\n"


def test_elsewhere_nothing_happens(monkeypatch):
    from experiments import allocator

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("started over"))
    allocator.keep()

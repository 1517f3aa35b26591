"""What signals do to a command that has something to save."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sgdbd_jax.cli.stopping import SIGNALS, stopping

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_kept_and_handlers_come_back(number, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    with stopping("ending soon") as signals:
        assert signals == []
        os.kill(os.getpid(), number)
        assert signals == [number]
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert capfd.readouterr().err == "\nending soon\n"


def test_handlers_come_back_after_an_error():
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(ZeroDivisionError), stopping():
        _ = 1 / 0
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_signal_ends_the_process_at_once(first, second):
    script = f"""
import os
from sgdbd_jax.cli.stopping import stopping
try:
    with stopping(at_once=True):
        os.kill(os.getpid(), {int(first)})
        print("working", flush=True)
        os.kill(os.getpid(), {int(second)})
finally:
    print("cleaning up", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-second, "working\n", "")


def test_else_the_second_does_what_it_did_before():
    with pytest.raises(KeyboardInterrupt), stopping() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)

"""Output that cannot be written, in processes: it costs no work and no traceback."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = r"""
import sys, warnings
from pathlib import Path
from sgdbd_jax.cli import command

def main():
    print("in \u5915\u65e5 \udcff \xe9", flush=True)
    print("note: \u5915\u65e5", file=sys.stderr)
    for number in range(5000):  # more than a pipe holds
        print("line", number)
    warnings.warn("\u5915\u65e5")
    Path(sys.argv[1]).write_text("done")
    return int(sys.argv[2])

command.run(main)
"""


@pytest.fixture
def call(tmp_path):
    """Runs the script, with redirections as a shell has them, to its end; returns the exit code, and what was read."""

    def called(redirections="", *, code=0, **environment):
        done = tmp_path / "done"
        command = shlex.join([sys.executable, "-c", SCRIPT, str(done), str(code)])
        piped = f"{command} {redirections}; exit ${{PIPESTATUS[0]}}"
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        ended = subprocess.run(["bash", "-c", piped], env=environment, capture_output=True, timeout=60)
        assert done.read_text() == "done"
        assert b"Traceback" not in ended.stderr and b"Exception" not in ended.stderr
        return ended.returncode, ended.stdout, ended.stderr

    return called


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932", "utf-8", "latin-1:strict"])
def test_what_an_encoding_lacks_is_written_as_escapes(call, encoding):
    code, out, err = call(PYTHONIOENCODING=encoding)
    codec = encoding.partition(":")[0]
    expected = "in \u5915\u65e5 \udcff \xe9".encode(codec, "backslashreplace")
    assert code == 0
    assert out.splitlines()[0] == expected
    assert err.splitlines() == [
        text.encode(codec, "backslashreplace") for text in ("note: \u5915\u65e5", "warning: \u5915\u65e5")
    ]


def test_the_c_locale_of_old_is_no_trouble(call):
    environment = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, _ = call(**environment)
    assert code == 0 and out.startswith(b"in \\u5915\\u65e5 ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("reader", ["| true", "| head -1 > /dev/null", "2>&1 | true", "2>&1 | head -1 > /dev/null"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_reader_that_goes_ends_nothing(call, reader, code, unbuffered):
    assert call(reader, code=code, PYTHONUNBUFFERED=unbuffered)[0] == code


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_lead_nowhere(call, closed):
    assert call(closed)[0] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_one_line_after_the_work(call):
    code, _, err = call("> /dev/full")
    assert code == 1
    assert err.decode().splitlines()[2:] == ["error: standard output: cannot be written (No space left on device)"]
    assert call("> /dev/full", code=2)[0] == 2
    assert call("> /dev/full 2>&1")[0] == 1
    assert call("2> /dev/full")[0] == 0  # all that was asked for has been written


def test_files_do_not_get_what_is_printed_into_closed_streams(tmp_path):
    """The next file that is opened would have the number of a stream."""
    script = f"""
import os
from sgdbd_jax.cli import command

def main():
    with open({str(tmp_path / "file")!r}, "w") as file:
        os.write(1, b"from a library")
        os.write(2, b"from a library")
        file.write("mine")

command.run(main)
"""
    command = f"exec {shlex.join([sys.executable, '-c', script])} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_a_terminal_that_is_slow_loses_nothing(tmp_path):
    """Another program that shares it may have set it not to wait."""
    script = """
import os
from sgdbd_jax.cli import command
os.set_blocking(1, False)
command.run(lambda: print("x" * 1_000_000))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=-1, stderr=-1
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, len(out), err) == (0, 1_000_001, b"")


@pytest.mark.parametrize("arguments", ["", ".predict --help", ".train --help"])
def test_every_command_has_such_streams(arguments):
    def call(redirection):
        command = f"{sys.executable} -m experiments{arguments} {redirection}; exit ${{PIPESTATUS[0]}}"
        return subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)

    ended = call("| true")
    assert (ended.returncode, ended.stderr) == (0, "")
    if Path("/dev/full").exists():
        ended = call("> /dev/full")
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)

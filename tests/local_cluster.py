"""A cluster of this machine, for all tests that need one."""

import contextlib
import http.server
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial

import pytest

# Before Ray is imported, which would write such a token into the user's home.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0"}

CLUSTER = """
import ray

ray.init("local", num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
ray.shutdown()
"""


@pytest.fixture(scope="session")
def cluster():
    """The address of a cluster of two CPUs and little memory, in processes of its own."""
    pytest.importorskip("ray.data")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # of a short name, as sockets need it
        for _ in range(4):  # on a machine that is busy with other things Ray gives up after half a minute
            process = subprocess.Popen(
                [sys.executable, "-c", CLUSTER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": folder, "RAY_TMPDIR": folder},
                start_new_session=True,
            )
            with process:
                if address := process.stdout.readline().decode().strip():
                    yield address
                    process.communicate(b"\n", timeout=60)
            with contextlib.suppress(ProcessLookupError):  # nothing is left, if all went well
                os.killpg(process.pid, signal.SIGKILL)
            if address:
                return
    pytest.fail("Ray does not start")


class Web(http.server.SimpleHTTPRequestHandler):
    """Gives files, if `before` does not tell otherwise of a name and of the port of who asks for it."""

    before = {}

    def do_GET(self):
        if self.before.get("GET", lambda name, port: True)(self.path.rpartition("/")[2], self.client_address[1]):
            super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def owner():
    """Tells which process has a connection from a port of this machine, by Linux's /proc."""
    return _owner


def _owner(port):
    with open("/proc/net/tcp") as lines:
        rows = [line.split() for line in lines]
    inode = next(row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            for file in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{file}") == f"socket:[{inode}]":
                    return int(pid)
        except OSError:
            pass
    raise LookupError(port)


@pytest.fixture
def web(tmp_path):
    """A web server of `tmp_path`, as its URL; and what is called, if there is one, as `GET`, before a file is given."""
    pytest.importorskip("fsspec.implementations.http")
    before: dict = {}
    handler = partial(type("Handler", (Web,), {"before": before}), directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", before
    server.shutdown()
    server.server_close()
    thread.join()

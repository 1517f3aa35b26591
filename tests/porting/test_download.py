"""Downloads: whole or not at all, continued where they broke, and verified. The server is on this machine."""

import hashlib
import http.server
import socket
import threading
import time

import numpy as np
import pytest

from sgdbd_jax.errors import UserError
from sgdbd_jax.porting import download as download_module
from sgdbd_jax.porting.download import download

BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER_SHA256 = hashlib.sha256(b"something else").hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY at /file, with ranges, and ends the connection early as often as `server.cuts` says."""

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.path != "/file":
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.knows_ranges else 0
        if start >= len(BODY):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        time.sleep(self.server.silence)
        length = self.server.cuts.pop(0) if self.server.cuts else len(BODY)
        self.wfile.write(BODY[start : start + length])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ranges, server.cuts, server.knows_ranges, server.silence = [], [], True, 0.0
        server.url = f"http://127.0.0.1:{server.server_port}/file"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "weights.bin"


def part_of(path):
    return path.with_name("weights.bin.part")


def leave_part(path, content):
    path.parent.mkdir()
    part_of(path).write_bytes(content)


def test_a_file_arrives_whole_and_progress_ends_at_its_size(server, path):
    steps = []
    assert download(server.url, path, sha256=SHA256, progress=lambda *step: steps.append(step)) == path
    assert path.read_bytes() == BODY
    assert steps[-1] == (300_000, 300_000)
    assert not part_of(path).exists()


def test_a_verified_file_is_not_fetched_again(server, path):
    for _ in range(2):
        download(server.url, path, sha256=SHA256)
    assert server.ranges == [None]


def test_a_file_of_another_digest_is_left_alone_and_named(server, path):
    path.parent.mkdir()
    path.write_bytes(b"somebody's own")
    with pytest.raises(UserError, match=f"weights.bin: its SHA-256 is .*{SHA256} was expected; delete it"):
        download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == b"somebody's own"
    assert server.ranges == []


def test_a_cut_connection_is_resumed_where_it_broke(server, path):
    server.cuts = [100_000, 50_000]
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_after_three_cuts_the_part_stays_and_the_next_call_continues_it(server, path):
    server.cuts = [1000, 1000, 1000]
    with pytest.raises(UserError, match="broke 3 times: 3000 of 300000 bytes arrived"):
        download(server.url, path, sha256=SHA256)
    assert not path.exists()
    assert part_of(path).read_bytes() == BODY[:3000]
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == BODY
    assert server.ranges[-1] == "bytes=3000-"


def test_progress_of_a_resumed_file_counts_what_was_there(server, path):
    leave_part(path, BODY[:200_000])
    steps = []
    download(server.url, path, sha256=SHA256, progress=lambda *step: steps.append(step))
    assert steps[0] == (300_000, 300_000)


def test_a_server_that_ignores_ranges_sends_it_all_again(server, path):
    server.knows_ranges = False
    leave_part(path, BODY[:100_000])
    download(server.url, path, sha256=SHA256)
    assert server.ranges == ["bytes=100000-"]
    assert path.read_bytes() == BODY


def test_a_part_that_was_already_whole_is_taken(server, path):
    leave_part(path, BODY)
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == BODY
    assert not part_of(path).exists()


@pytest.mark.parametrize("left", [b"", b"not the beginning of the file"])
def test_a_wrong_digest_leaves_neither_file_nor_part(server, path, left):
    if left:
        leave_part(path, left)
    with pytest.raises(UserError, match=f"{server.url} .*{OTHER_SHA256} was expected.* put it at .*weights.bin"):
        download(server.url, path, sha256=OTHER_SHA256)
    assert list(path.parent.iterdir()) == []


def test_a_missing_file_is_told_with_the_url_and_the_place_for_it(server, path):
    url = server.url.replace("/file", "/gone")
    with pytest.raises(UserError, match=f"cannot download {url} .HTTP 404 Not Found.; .* put it at {path}$"):
        download(url, path, sha256=SHA256)
    assert server.ranges == [None]  # asking again would not help


def test_a_refused_connection_is_told_with_the_url_and_the_place_for_it(server, path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listening
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        with pytest.raises(UserError, match=f"cannot download {url} .*refused.* put it at {path}$"):
            download(url, path, sha256=SHA256)


def test_a_silent_server_is_given_up(server, path, monkeypatch):
    monkeypatch.setattr(download_module, "TIMEOUT", 0.1)
    server.silence = 0.5
    with pytest.raises(UserError, match="broke 3 times: timed out"):
        download(server.url, path, sha256=SHA256)


def test_a_disk_that_cannot_take_the_file_is_not_blamed_on_the_network(server, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder is wanted")
    with pytest.raises(UserError, match=r"cannot be written \((File exists|Not a directory)"):
        download(server.url, tmp_path / "cache" / "weights.bin", sha256=SHA256)
    assert server.ranges == []

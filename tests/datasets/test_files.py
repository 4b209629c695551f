import hashlib
import http.server
import re
import socketserver
import threading

import numpy as np
import pytest

from keras_transfer.datasets.files import fetch, read_gzip

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT and its ranges.

    /short breaks off, /huge claims more than any disk holds, /plain knows no ranges, /unsized tells no length.
    """

    def do_GET(self):  # noqa: N802
        requested = self.headers["Range"]
        self.server.ranges.append(requested)
        if self.path == "/missing":
            return self.send_error(404)
        start = 0
        if requested and self.path != "/plain":
            start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1])
            if start >= len(CONTENT):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(10**18 if self.path == "/huge" else len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        self.wfile.write(body[: len(body) // 2] if self.path == "/short" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.ranges = []
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_TRANSFER_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "keras_transfer" / "set"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("address", "checksum"), [("/a", SHA256), ("/a", MD5), ("/unsized", MD5)])
def test_downloads_once(server, cache, address, checksum):
    for _ in range(2):
        assert fetch("a.bin", "set", server.url + address, checksum).read_bytes() == CONTENT
    assert server.ranges == [None]
    assert names(cache) == ["a.bin"]


def test_breaking_off_leaves_a_part_that_is_resumed(server, cache):
    with pytest.raises(OSError, match="Expected 300000 bytes .* received 150000"):
        fetch("a.bin", "set", server.url + "/short", SHA256)
    assert names(cache) == ["a.bin.part"]
    assert fetch("a.bin", "set", server.url + "/a", SHA256).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=150000-"]
    assert names(cache) == ["a.bin"]


def test_starts_over_where_the_server_knows_no_ranges(server, cache):
    cache.mkdir(parents=True)
    (cache / "a.bin.part").write_bytes(CONTENT[:1000])
    assert fetch("a.bin", "set", server.url + "/plain", SHA256).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_complete_part_is_only_checked(server, cache):
    cache.mkdir(parents=True)
    (cache / "a.bin.part").write_bytes(CONTENT)
    assert fetch("a.bin", "set", server.url + "/a", SHA256).read_bytes() == CONTENT
    assert names(cache) == ["a.bin"]


def test_wrong_checksum_leaves_nothing(server, cache):
    with pytest.raises(ValueError, match=f"checksum {'0' * 64}; received {SHA256}"):
        fetch("a.bin", "set", server.url + "/a", "0" * 64)
    assert names(cache) == []


def test_no_room_is_found_before_writing(server, cache):
    with pytest.raises(OSError, match="Expected room for 10{18} bytes"):
        fetch("a.bin", "set", server.url + "/huge", SHA256)
    assert names(cache) == []


def test_unreachable_file_says_where_to_put_it(server, cache):
    with pytest.raises(OSError, match=r"/missing; received: HTTP Error 404.*set/a\.bin.*KERAS_TRANSFER_DATA"):
        fetch("a.bin", "set", server.url + "/missing", SHA256)
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="Expected to download .*refused"):
        fetch("a.bin", "set", server.url + "/a", SHA256)
    assert names(cache) == []


def test_data_folder_comes_first(server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match="KERAS_TRANSFER_DATA to name an existing folder"):
        fetch("a.bin", "set", server.url + "/a", SHA256)
    (tmp_path / "data" / "set").mkdir(parents=True)
    (tmp_path / "data" / "set" / "a.bin").write_bytes(b"mine")
    assert fetch("a.bin", "set", server.url + "/a", SHA256).read_bytes() == b"mine"
    assert server.ranges == []
    assert fetch("b.bin", "set", server.url + "/b", SHA256) == cache / "b.bin"


def test_read_gzip_names_what_is_no_gzip_file(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(b"plain text")
    with pytest.raises(ValueError, match=r"a\.gz to be a complete gzip file"):
        read_gzip(path)

import concurrent.futures
import hashlib
import http.server
import re
import socketserver
import sys
import threading

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.datasets.files import fetch, read_gzip

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT and its ranges.

    /short breaks off, /huge claims more than any disk holds, /plain knows no ranges, /unsized tells no length, /zero
    calls the whole file a range, /late leaves bytes out, /untold does not say which range it sends, /slow waits in the
    middle, /portal sends a page of words, /cut a short body as if it were whole.
    """

    def do_GET(self):  # noqa: N802
        requested = self.headers["Range"]
        self.server.ranges.append(requested)
        if self.path == "/missing":
            return self.send_error(404)
        if self.path in ("/portal", "/cut"):
            body = b"<html>Sign in to the network</html>" if self.path == "/portal" else CONTENT[:1000]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return self.wfile.write(body)
        start = 0
        if requested and self.path not in ("/plain", "/zero"):
            start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1])
            if start >= len(CONTENT):
                return self.send_error(416)
        start += 10 if self.path == "/late" and requested else 0
        self.send_response(206 if start or self.path == "/zero" else 200)
        if (start or self.path == "/zero") and self.path != "/untold":
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if self.path != "/unsized":
            self.send_header("Content-Length", str(10**18 if self.path == "/huge" else len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if self.path == "/slow":
            self.wfile.write(body[:1000])
            self.server.waiting.release()
            self.server.both.wait(20)
            body = body[1000:]
        self.wfile.write(body[: len(body) // 2] if self.path == "/short" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.ranges = []
        server.waiting, server.both = threading.Semaphore(0), threading.Event()
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
    (part,) = names(cache)
    assert re.fullmatch(r"a\.bin\.[0-9a-f]{32}\.part", part)
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


@pytest.mark.parametrize("address", ["/zero", "/plain"])
def test_an_answer_from_the_beginning_is_not_appended(server, cache, address):
    cache.mkdir(parents=True)
    (cache / "a.bin.part").write_bytes(CONTENT[:1000])
    assert fetch("a.bin", "set", server.url + address, SHA256).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"] and names(cache) == ["a.bin"]


@pytest.mark.parametrize(("address", "received"), [("/late", "bytes 1010-299999/300000"), ("/untold", None)])
def test_a_range_that_does_not_follow_is_refused(server, cache, address, received):
    cache.mkdir(parents=True)
    (cache / "a.bin.part").write_bytes(CONTENT[:1000])
    with pytest.raises(OSError, match=f"from 1000 on; received a part with the range {received!r}"):
        fetch("a.bin", "set", server.url + address, SHA256)
    assert (cache / "a.bin.part").read_bytes() == CONTENT[:1000]


def test_two_at_once_have_a_part_of_their_own(server, cache):
    """Both are half way when the other is: with one part for both it would end at more bytes than there are."""
    server.daemon_threads = True
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch, "a.bin", "set", server.url + "/slow", SHA256) for _ in range(2)]
        assert all(server.waiting.acquire(timeout=20) for _ in range(2))
        assert len(names(cache)) == 2
        server.both.set()
        for one in both:
            assert one.result().read_bytes() == CONTENT
    assert server.ranges == [None, None] and names(cache) == ["a.bin"]


def complete(path):
    if path.stat().st_size != len(CONTENT):
        raise ValueError(f"Expected {len(CONTENT)} bytes; received {path.read_bytes()[:20]!r}.")


@pytest.mark.parametrize(("address", "begins"), [("/portal", "<html>Sign in to the"), ("/cut", "")])
def test_without_a_checksum_the_contents_are_checked_before_they_count(server, cache, address, begins):
    with pytest.raises(ValueError, match=f"the contents of .*received: Expected 300000 bytes.*{begins}.*Nothing was"):
        fetch("a.bin", "set", server.url + address, None, complete)
    assert names(cache) == []
    with pytest.raises(OSError, match="received 150000"):
        fetch("a.bin", "set", server.url + "/short", None, complete)
    assert names(cache) == []  # nothing would tell whether the rest belongs to it
    assert fetch("a.bin", "set", server.url + "/a", None, complete).read_bytes() == CONTENT
    with pytest.raises(ValueError, match="a checksum of .*or a function that checks it; received neither"):
        fetch("b.bin", "set", server.url + "/a", None)


@pytest.mark.parametrize("checks", [(SHA256,), (None, complete)])
def test_a_file_of_other_contents_in_the_cache_is_not_believed(server, cache, checks):
    cache.mkdir(parents=True)
    (cache / "a.bin").write_bytes(CONTENT[:1000] + CONTENT)
    assert fetch("a.bin", "set", server.url + "/a", *checks).read_bytes() == CONTENT


def test_no_link_is_followed(server, cache, tmp_path):
    cache.mkdir(parents=True)
    (tmp_path / "other").write_bytes(b"mine")
    (cache / "a.bin.part").symlink_to(tmp_path / "other")
    assert fetch("a.bin", "set", server.url + "/a", SHA256).read_bytes() == CONTENT
    assert (tmp_path / "other").read_bytes() == b"mine" and server.ranges == [None]


@pytest.mark.parametrize("load", [kt.datasets.trec, kt.datasets.omniglot_runs])
@pytest.mark.parametrize("address", ["/portal", "/cut"])
def test_data_sets_without_a_checksum_keep_no_page_of_words(server, cache, tmp_path, monkeypatch, load, address):
    module = sys.modules[load.__module__]
    monkeypatch.setattr(
        module, "fetch", lambda name, folder, url, *checks: fetch(name, folder, server.url + address, *checks)
    )
    with pytest.raises(ValueError, match="Nothing was kept"):
        load()
    assert not list((tmp_path / "home").rglob("*.*"))


def test_a_short_file_of_questions_is_not_kept(tmp_path):
    lines = b"NUM:dist How far ?\n" * 499
    (tmp_path / "TREC.test").write_bytes(lines)
    with pytest.raises(ValueError, match="Expected 500 questions; received 499"):
        sys.modules[kt.datasets.trec.__module__]._complete(tmp_path / "TREC.test", "test")
    (tmp_path / "TREC.test").write_bytes(lines + b"NUM:dist How f")
    with pytest.raises(ValueError, match="cut off"):
        sys.modules[kt.datasets.trec.__module__]._complete(tmp_path / "TREC.test", "test")
    (tmp_path / "TREC.test").write_bytes(lines + b"NUM:dist How far ?\n")
    sys.modules[kt.datasets.trec.__module__]._complete(tmp_path / "TREC.test", "test")


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

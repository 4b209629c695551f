"""Writing whole: what is there after failures of every kind, at every moment."""

import concurrent.futures
import itertools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from keras_transfer.files import put_whole, write_folder_whole, write_whole


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.is_dir() or path.read_bytes() for path in folder.rglob("*")}


class Stop(BaseException):
    """What ends a process, which no `except Exception` catches."""


def test_a_file_and_the_folders_around_it(tmp_path):
    path = write_whole(tmp_path / "a" / "b" / "file", b"content")
    assert path == tmp_path / "a" / "b" / "file"
    assert tree(tmp_path) == {"a": True, "a/b": True, "a/b/file": b"content"}
    assert write_whole(str(path), b"other").read_bytes() == b"other"
    assert len(tree(tmp_path)) == 3


def test_a_function_writes(tmp_path):
    path = write_whole(tmp_path / "file.npz", lambda file: np.savez(file, x=np.arange(3)))
    with np.load(path) as content:
        np.testing.assert_array_equal(content["x"], [0, 1, 2])


@pytest.mark.parametrize("error", [OSError, Stop])
def test_a_file_that_fails_half_way(tmp_path, error):
    def half(file):
        file.write(b"half")
        file.flush()
        assert len(tree(tmp_path)) == len(before) + 1  # it is being written
        raise error

    before = {}
    with pytest.raises(error):
        write_whole(tmp_path / "file", half)
    assert tree(tmp_path) == {}
    write_whole(tmp_path / "file", b"earlier")
    before = tree(tmp_path)
    with pytest.raises(error):
        write_whole(tmp_path / "file", half)
    assert tree(tmp_path) == before == {"file": b"earlier"}


def test_folders_made_for_a_file_that_fails_go_again(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(TypeError):
        write_whole(tmp_path / "there" / "new" / "newer" / "file", "text, not bytes")
    assert tree(tmp_path) == {"there": True}


def test_a_file_takes_the_place_of_no_folder(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "file", b"content")
    assert tree(tmp_path) == {"file": True}


def test_what_is_renamed_is_on_the_disk(tmp_path, monkeypatch):
    """Each file before it gets its name, and the folder with that name after."""
    events = []

    def noted(name, function):
        def call(first, *rest):
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
            events.append((name, pathlib.Path(path).relative_to(tmp_path.resolve()).as_posix()))
            return function(first, *rest)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "replace", "rename"):
        noted(name, getattr(os, name))
    write_whole(tmp_path / "file", b"content")
    assert [name for name, _ in events] == ["fsync", "replace", "fsync"]
    assert events[0][1] == events[1][1] and events[2][1] == "."
    events.clear()

    def write(path):
        (path / "inner").mkdir()
        (path / "inner" / "file").write_bytes(b"content")

    write_folder_whole(tmp_path, write, "folder")
    synced = {path.partition("/")[2] for name, path in events[:-2]}
    assert [name for name, _ in events] == ["fsync", "fsync", "fsync", "rename", "fsync"]
    assert synced == {"", "inner", "inner/file"} and events[-1] == ("fsync", ".")


def test_put_whole(tmp_path):
    part = tmp_path / "file.part"
    part.write_bytes(b"complete")
    assert put_whole(part, tmp_path / "file") == tmp_path / "file"
    assert tree(tmp_path) == {"file": b"complete"}


def fill(path):
    (path / "file").write_bytes(b"content")


def test_a_folder(tmp_path):
    assert write_folder_whole(tmp_path / "a" / "b", fill, "1") == tmp_path / "a" / "b" / "1"
    assert tree(tmp_path / "a") == {"b": True, "b/1": True, "b/1/file": b"content"}


@pytest.mark.parametrize("error", [ValueError, Stop])
def test_a_folder_that_fails_half_way(tmp_path, error):
    def half(path):
        fill(path)
        raise error

    with pytest.raises(error):
        write_folder_whole(tmp_path / "a" / "b", half, "1")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("there", ["folder", "empty folder", "file"])
def test_a_folder_takes_the_place_of_nothing(tmp_path, there):
    if there == "file":
        (tmp_path / "1").write_bytes(b"earlier")
    else:
        (tmp_path / "1").mkdir()
        if there == "folder":
            (tmp_path / "1" / "earlier").write_bytes(b"earlier")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match="Expected a new folder"):
        write_folder_whole(tmp_path, fill, "1")
    with pytest.raises(FileExistsError, match="Expected a new folder"):
        write_folder_whole(tmp_path, fill, lambda: "1")
    assert tree(tmp_path) == before


def test_the_name_is_asked_for_at_the_end_and_again_when_it_is_taken(tmp_path):
    """Somebody else finishes version 1 while this one is written, and version 2 just when it is to be named."""

    def write(path):
        fill(path)
        write_folder_whole(tmp_path, fill, "1")

    def highest():
        number = str(max((int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()), default=0) + 1)
        if next(asked) == 0:
            write_folder_whole(tmp_path, fill, number)
        return number

    asked = itertools.count()
    assert write_folder_whole(tmp_path, write, highest) == tmp_path / "3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"] and next(asked) == 2


def test_a_folder_taken_in_the_last_moment(tmp_path, monkeypatch):
    """Between the look and the renaming, which then fails."""
    rename = os.rename

    def late(source, target):
        if not target.exists():
            target.mkdir()
            (target / "theirs").write_bytes(b"theirs")
        return rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(FileExistsError):
        write_folder_whole(tmp_path, fill, "1")
    assert tree(tmp_path) == {"1": True, "1/theirs": b"theirs"}


# What the killed leave.


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_goes_with_the_next_write(kind, tmp_path):
    script = f"""
import pathlib, time
from keras_transfer.files import write_folder_whole, write_whole
def write(target):
    (target / "part").write_bytes(b"part") if {kind == "folder"} else target.write(b"part")
    print("writing", flush=True)
    time.sleep(600)
folder = pathlib.Path({str(tmp_path)!r})
write_folder_whole(folder, write, "1") if {kind == "folder"} else write_whole(folder / "file", write)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "writing\n"
        write_whole(tmp_path / "other", b"content")
        (hidden,) = (path for path in tmp_path.iterdir() if path.name.startswith("."))  # it lives
        process.kill()
    assert hidden.exists()
    mine = tmp_path / ".mine"
    mine.mkdir()
    write_folder_whole(tmp_path, fill, "2")
    assert not hidden.exists() and mine.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"other", "2", ".mine"}


def test_a_link_with_a_hidden_name_is_not_followed(tmp_path):
    """What it points to is somebody else's."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_bytes(b"theirs")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / f".whole-{'0' * 32}").symlink_to(tmp_path / "theirs")
    write_whole(tmp_path / "here" / "file", b"content")
    assert (tmp_path / "theirs" / "file").read_bytes() == b"theirs"


def test_several_write_beside_one_another(tmp_path):
    """From many threads at once: nobody takes another's for a dead one's."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = [pool.submit(write_whole, tmp_path / f"{number}", bytes([number]) * 1000) for number in range(64)]
        done += [pool.submit(write_folder_whole, tmp_path, fill, f"folder {number}") for number in range(16)]
        assert all(one.result().exists() for one in done)
    assert len(tree(tmp_path)) == 64 + 2 * 16
    assert all((tmp_path / f"{number}").read_bytes() == bytes([number]) * 1000 for number in range(64))

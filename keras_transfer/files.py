"""Files and folders that are there whole or not at all, also where the process or the machine stops half way."""

import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import uuid

import numpy as np

try:
    import fcntl
except ImportError:  # where folders cannot be locked, nothing left behind is removed
    fcntl = None

_HIDDEN = re.compile(r"\.whole-[0-9a-f]{32}")


def write_whole(path, content):
    """Writes a file, in place of an earlier one; makes the folder around it where missing.

    It is written beside, under a hidden name that nobody can guess, brought to the disk and then renamed. A failure
    leaves nothing behind, and an earlier file as it was. What a process that was killed left in the folder, the next
    writer there removes: it holds a lock, which ends with it, on what it writes.

    Args:
        path: path of the file.
        content: bytes; or a function that writes them to a binary file, such as `functools.partial(np.save, arr=x)`.

    Returns:
        The `pathlib.Path` of the file.

    Raises:
        OSError: if it cannot be written.

    Example:

    ```python
    write_whole("runs/report.json", json.dumps(report).encode())
    write_whole("cache/features.npz", lambda file: np.savez(file, features=features))
    ```
    """
    path = pathlib.Path(path)
    with _folder(path.parent), _staged(path.parent, lambda beside: beside.touch(exist_ok=False)) as beside:
        with open(beside, "wb") as file:
            content(file) if callable(content) else file.write(content)
        return put_whole(beside, path)


def write_folder_whole(folder, write, name):
    """Writes a new folder into another one, as `write_whole` writes a file.

    Args:
        folder: path of the folder around it, made where missing.
        write: function that fills the empty folder whose path it gets.
        name: str, the name of the new folder; or a function that returns it, called when all is written and again if
            somebody else took the name in that moment, as where a version is one more than the highest.

    Returns:
        The `pathlib.Path` of the new folder.

    Raises:
        FileExistsError: if something has that name.
        OSError: if it cannot be written.

    Example:

    ```python
    write_folder_whole("saved_models/digits", lambda path: tf.saved_model.save(module, str(path)), name="1")
    ```
    """
    folder, tried = pathlib.Path(folder), set()
    with _folder(folder), _staged(folder, pathlib.Path.mkdir) as beside:
        write(beside)
        while True:
            path = folder / (name() if callable(name) else name)
            if path in tried:
                raise FileExistsError(f"Expected a new folder; received {path}, which exists.")
            tried.add(path)
            if not path.exists():
                with contextlib.suppress(FileExistsError):
                    return _put_folder(beside, path)


def to_json(value, indent=2):
    """Returns a value as JSON text, with lists for arrays and null for NaN and infinity.

    Args:
        value: anything that JSON can hold, NumPy's numbers and arrays among it.
        indent: int.

    Raises:
        TypeError: for anything else.
    """

    def plain(value):
        if isinstance(value, (np.generic, np.ndarray)):
            return plain(value.tolist())
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def refuse(value):
        raise TypeError(f"Expected metrics that JSON can hold; received {value!r}.")

    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False, default=refuse)


def put_whole(beside, path):
    """Brings a complete file to the disk and renames it, in place of an earlier one.

    Args:
        beside: path of the complete file, on the same disk.
        path: its path from now on.

    Returns:
        The `pathlib.Path` of the file.
    """
    _to_disk(beside)
    os.replace(beside, path)
    _to_disk(pathlib.Path(path).parent)
    return pathlib.Path(path)


def _put_folder(beside, path):
    for part in (beside, *beside.rglob("*")):
        _to_disk(part)
    try:
        os.rename(beside, path)
    except OSError as error:
        if path.exists():  # of several kinds, by what is there
            raise FileExistsError(str(error)) from error
        raise
    _to_disk(path.parent)
    return path


def _to_disk(path):
    """Waits until the content of a file, or the names in a folder, would survive a power failure."""
    if path.is_dir() and os.name != "posix":
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _staged(folder, make):
    """Makes a file or folder under a hidden name, held by a lock while it is written; removes it if it is still there.

    Those in the folder that no living process holds are removed first. The folder itself is locked while one is made,
    so that none is found between its making and its lock.
    """
    with contextlib.ExitStack() as held:
        beside = folder / f".whole-{uuid.uuid4().hex}"
        with _lock(folder, wait=False) as alone:
            if alone:
                for left in folder.iterdir():
                    if _HIDDEN.fullmatch(left.name):
                        _remove_dead(left)
        with _lock(folder, shared=True):
            make(beside)
            held.enter_context(_lock(beside))
        try:
            yield beside
        finally:
            _remove(beside)


def _remove_dead(left):
    with _lock(left, wait=False) as dead:
        if dead:
            _remove(left)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(path, wait=True, shared=False):
    """Holds a lock on a file or folder, and yields whether it does; links are not followed.

    It ends with the process, however that ends. Some file systems know none, and some lock for writing alone.
    """
    descriptor, held = None, False
    if fcntl is not None:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            held = True
    try:
        yield held
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def _folder(folder):
    """Makes a folder and those around it; takes away those that it made and that are empty where something fails."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise

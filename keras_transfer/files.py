"""Files and folders that are there whole or not at all, also where the process or the machine stops half way."""

import contextlib
import os
import pathlib
import shutil
import uuid


def write_whole(path, content):
    """Writes a file, in place of an earlier one; makes the folder around it where missing.

    It is written beside, under a hidden name that nobody can guess, brought to the disk and then renamed. A failure
    leaves nothing behind, and an earlier file as it was.

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
    with _folder(path.parent):
        beside = path.with_name(_hidden())
        try:
            with open(beside, "xb") as file:
                content(file) if callable(content) else file.write(content)
            return put_whole(beside, path)
        finally:
            beside.unlink(missing_ok=True)


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
    with _folder(folder):
        beside = folder / _hidden()
        try:
            beside.mkdir()
            write(beside)
            while True:
                path = folder / (name() if callable(name) else name)
                if path in tried:
                    raise FileExistsError(f"Expected a new folder; received {path}, which exists.")
                tried.add(path)
                if not path.exists():
                    with contextlib.suppress(FileExistsError):
                        return _put_folder(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


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


def _hidden():
    return f".{uuid.uuid4().hex}"


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

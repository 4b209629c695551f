"""Finds a data file in the user's data folder or the cache, or downloads it once, resumably and verified."""

import contextlib
import errno
import gzip
import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
import uuid
import zlib
from pathlib import Path

import keras

from keras_transfer.files import put_whole

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def data_folder(folder):
    """Returns `$KERAS_TRANSFER_DATA/<folder>`, or None where the variable is not set.

    Raises:
        ValueError: If the variable names a folder that does not exist.
    """
    root = os.environ.get("KERAS_TRANSFER_DATA")
    if not root:
        return None
    if not os.path.isdir(root):
        raise ValueError(f"Expected KERAS_TRANSFER_DATA to name an existing folder; received {root!r}.")
    return Path(root, folder)


def fetch(name, folder, url, checksum, check=None):
    """Returns the path of a data file, downloading it if it is nowhere yet.

    Looks for `$KERAS_TRANSFER_DATA/<folder>/<name>`, then for `keras_transfer/<folder>/<name>` in Keras's own folder
    (`KERAS_HOME`, by default `~/.keras`), and downloads to the latter. The file gets its name only once its contents
    hold, and a file there whose contents do not is replaced. Each process has a part `<name>.<random>.part` of its own;
    one that breaks off leaves it, from which the next call resumes, if a checksum will tell whether that went well.

    Args:
        name: File name.
        folder: Name of the data set's folder.
        url: Canonical address of the file.
        checksum: Its md5 (32 hexadecimal digits) or sha256 (64); None where none is published.
        check: Function of a path that raises a ValueError unless the file there is complete; required where there is
            no checksum. A server's page of words must not pass for data, nor a part for the whole.

    Returns:
        `pathlib.Path` of the complete file.

    Raises:
        ValueError: If `KERAS_TRANSFER_DATA` names no folder, or the download has another checksum or other contents.
        OSError: If the download fails or breaks off, or the disk has no room for it.
    """
    if checksum is None and check is None:
        raise ValueError(f"Expected a checksum of {url} or a function that checks it; received neither.")
    own = data_folder(folder)
    if own is not None and (own / name).exists():
        return own / name
    path = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras_transfer", folder, name).expanduser()
    if path.exists() and _fault(path, checksum, check) is None:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _part(path, resumed=checksum is not None) as (part, file):
        try:
            _download(url, file, path.parent)
        except (urllib.error.URLError, http.client.HTTPException) as error:
            raise OSError(
                f"Expected to download {url}; received: {error}. Where there is no network, put the file "
                f"{folder}/{name} into the folder that KERAS_TRANSFER_DATA names."
            ) from error
        file.flush()
        fault = _fault(part, checksum, check)
        if fault is not None:
            part.unlink()
            raise ValueError(f"Expected {url} to have {fault}. Nothing was kept.")
        put_whole(part, path)
    return path


def _fault(path, checksum, check):
    """Says what is wrong with the contents of a file; returns None if nothing is."""
    if checksum is not None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5" if len(checksum) == 32 else "sha256").hexdigest()
        return None if found == checksum else f"the checksum {checksum}; received {found}"
    try:
        check(path)
    except ValueError as error:
        return f"the contents of {path.name}; received: {error}"
    return None


@contextlib.contextmanager
def _part(path, resumed):
    """Gives a part of `path` that no other process writes, and the file opened at its end; drops it if it is empty.

    It is locked for as long as it is open, so that a part without a lock is one that broke off. Where the system has no
    such locks, each call starts anew.
    """
    form = re.compile(re.escape(path.name) + r"(\.[0-9a-f]{32})?\.part")
    left = [each for each in path.parent.iterdir() if form.fullmatch(each.name)] if resumed and fcntl else []
    for part in [*left, path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")]:
        try:
            descriptor = os.open(part, _OPEN if part in left else _OPEN | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError:
            if part in left:  # taken away meanwhile, or a link, which is never followed
                continue
            raise
        with os.fdopen(descriptor, "r+b") as file:
            if not _locked(file, part):
                continue
            file.seek(0, os.SEEK_END)
            try:
                yield part, file
            finally:
                if part.exists() and not (resumed and part.stat().st_size):
                    part.unlink()
            return


def _locked(file, part):
    """Takes the lock of a part; returns whether it could, and the part is still this file."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here = os.lstat(part)
    except OSError:
        return False
    return os.path.samestat(here, os.fstat(file.fileno()))


def _download(url, file, folder):
    """Downloads into a file what it still lacks; its position is its end."""
    offset = file.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # nothing follows `offset`: only the check was missing
            return
        raise
    with response:
        start = 0  # a server that knows no ranges sends the file from its beginning
        if response.status == 206:
            said = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if said is None or int(said[1]) > offset:
                raise OSError(
                    f"Expected the bytes of {url} from {offset} on; received a part with the range "
                    f"{response.headers.get('Content-Range')!r}."
                )
            start = int(said[1])
        file.seek(start)
        file.truncate()
        length = int(response.headers.get("Content-Length", 0))
        free = shutil.disk_usage(folder).free
        if length > free:
            raise OSError(errno.ENOSPC, f"Expected room for {length} bytes of {url}; received {free}")
        received = start
        print(f"Downloading {url}")
        progress = keras.utils.Progbar(start + length or None, unit_name="byte")
        while chunk := response.read(1 << 16):
            file.write(chunk)
            received += len(chunk)
            progress.update(received)
    if received < start + length:
        raise OSError(f"Expected {start + length} bytes from {url}; received {received}. Call again to resume.")


def read_gzip(path):
    """Returns the unpacked bytes of a gzip file.

    Raises:
        ValueError: If it is truncated, corrupt or no gzip file.
    """
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"Expected {path} to be a complete gzip file; received: {error}.") from error


def check_split(split):
    """Raises a ValueError if `split` is neither "train" nor "test"."""
    if split not in ("train", "test"):
        raise ValueError(f'Expected `split` to be "train" or "test"; received {split!r}.')

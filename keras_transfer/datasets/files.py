"""Finds a data file in the user's data folder or the cache, or downloads it once, resumably and verified."""

import errno
import gzip
import hashlib
import os
import shutil
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import keras

from keras_transfer.files import put_whole


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


def fetch(name, folder, url, checksum):
    """Returns the path of a data file, downloading it if it is nowhere yet.

    Looks for `$KERAS_TRANSFER_DATA/<folder>/<name>`, then for `keras_transfer/<folder>/<name>` in Keras's own folder
    (`KERAS_HOME`, by default `~/.keras`), and downloads to the latter. A download that breaks off leaves `<name>.part`,
    from which the next call resumes; the file gets its name only once its checksum holds.

    Args:
        name: File name.
        folder: Name of the data set's folder.
        url: Canonical address of the file.
        checksum: Its md5 (32 hexadecimal digits) or sha256 (64); None where none is published: then check the content.

    Returns:
        `pathlib.Path` of the complete file.

    Raises:
        ValueError: If `KERAS_TRANSFER_DATA` names no folder, or the download has another checksum.
        OSError: If the download fails or breaks off, or the disk has no room for it.
    """
    own = data_folder(folder)
    if own is not None and (own / name).exists():
        return own / name
    path = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras_transfer", folder, name).expanduser()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(name + ".part")
        try:
            _download(url, part)
        except urllib.error.URLError as error:
            raise OSError(
                f"Expected to download {url}; received: {error}. Where there is no network, put the file "
                f"{folder}/{name} into the folder that KERAS_TRANSFER_DATA names."
            ) from error
        if checksum is not None:
            with open(part, "rb") as file:
                found = hashlib.file_digest(file, "md5" if len(checksum) == 32 else "sha256").hexdigest()
            if found != checksum:
                part.unlink()
                raise ValueError(f"Expected {url} to have the checksum {checksum}; received {found}. Nothing was kept.")
        put_whole(part, path)
    return path


def _download(url, part):
    """Downloads what `part` still lacks."""
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # nothing follows `offset`: only the check was missing
            return
        raise
    with response:
        if response.status != 206:  # the server sends the file from its beginning
            offset = 0
        length = int(response.headers.get("Content-Length", 0))
        free = shutil.disk_usage(part.parent).free
        if length > free:
            raise OSError(errno.ENOSPC, f"Expected room for {length} bytes of {url}; received {free}", str(part))
        received = offset
        print(f"Downloading {url}")
        progress = keras.utils.Progbar(offset + length or None, unit_name="byte")
        with open(part, "ab" if offset else "wb") as file:
            while chunk := response.read(1 << 16):
                file.write(chunk)
                received += len(chunk)
                progress.update(received)
    if received < offset + length:
        raise OSError(f"Expected {offset + length} bytes from {url}; received {received}. Call again to resume.")


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

"""Emoji: a thousand drawn classes with a name each, in the styles of two makers."""

import csv
import io
import json
import tarfile
from typing import NamedTuple

import numpy as np

from keras_transfer.datasets.files import data_folder, fetch
from keras_transfer.datasets.images import read_photo, resize

EMOJI_STYLES = ("twitter", "google")
_URL = "https://registry.npmjs.org/emoji-datasource-{0}/-/emoji-datasource-{0}-16.0.0.tgz"
_SHA256 = {
    "google": "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "twitter": "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
}


class Emoji(NamedTuple):
    """Pictures of emoji, one for each class.

    Args:
        images: uint8 (n, image_size, image_size, 3), 0-255, on white.
        names: tuple of str (n,), their Unicode names in lower case, such as "grinning face".
        categories: tuple of str (n,), such as "Smileys & Emotion".
        subcategories: tuple of str (n,), such as "face-smiling".
    """

    images: np.ndarray
    names: tuple
    categories: tuple
    subcategories: tuple


def emoji(style="twitter", image_size=48):
    """Loads the emoji of one maker; both have the same classes in the same order.

    Reads `$KERAS_TRANSFER_DATA/emoji/classes.csv` and `<style>/<id>.png`, or downloads the npm package
    `emoji-datasource-<style>` 16.0.0 once (62 and 74 MB), of which it takes what is no flag, no component and no joined
    sequence, in 64 pixels. The pictures are Twemoji (CC BY 4.0) and Noto Emoji (Apache 2.0).

    Args:
        style: `"twitter"` or `"google"`.
        image_size: Side of the images in pixels, bilinearly resized.

    Returns:
        An `Emoji`. There is one picture of each class and style: augment. Clocks, hearts and squares differ in hands or
        colour alone.

    Raises:
        ValueError: If the style is unknown, or a picture is missing or unreadable.
        ImportError: If Pillow is missing.
    """
    if style not in EMOJI_STYLES:
        raise ValueError(f"Expected `style` to be one of {EMOJI_STYLES}; received {style!r}.")
    folder = data_folder("emoji")
    if folder is not None and (folder / "classes.csv").is_file():
        with open(folder / "classes.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        contents = [_read(folder / style / f"{row['id']}.png") for row in rows]
    else:
        rows, contents = _package(style)
    pictures = [read_photo(io.BytesIO(content), row["name"]) for content, row in zip(contents, rows)]
    images = np.concatenate([resize(picture[None], image_size) for picture in pictures])
    columns = [tuple(row[column] for row in rows) for column in ("name", "category", "subcategory")]
    return Emoji(images, tuple(name.lower() for name in columns[0]), *columns[1:])


def _read(path):
    if not path.is_file():
        raise ValueError(f"Expected the picture {path}, which classes.csv names; received no such file.")
    return path.read_bytes()


def _package(style):
    """The rows and pictures of emoji that both packages have."""
    name = f"emoji-datasource-{style}-16.0.0.tgz"
    path = fetch(name, "emoji", _URL.format(style), _SHA256[style])
    with tarfile.open(path) as archive:
        table = json.load(archive.extractfile("package/emoji.json"))
        rows = [row for row in table if _is_kept(row)]
        contents = {}
        prefix = f"package/img/{style}/64/"
        wanted = {prefix + row["image"]: row["image"] for row in rows}
        for member in archive:
            if member.name in wanted:
                contents[wanted[member.name]] = archive.extractfile(member).read()
    return rows, [contents[row["image"]] for row in rows]


def _is_kept(row):
    return (
        row["category"] not in ("Flags", "Component")
        and "200D" not in row["unified"]
        and not row.get("obsoleted_by")
        and all(row[f"has_img_{style}"] for style in EMOJI_STYLES)
    )

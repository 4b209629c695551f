"""Animals with Attributes: fifty animals, each described by 85 attributes; no pictures."""

import io
import zipfile
from typing import NamedTuple

import numpy as np

from keras_transfer.datasets.files import data_folder, fetch

_URL = "https://cvml.ista.ac.at/AwA2/AwA2-base.zip"
_FILES = ("awa2_classes.txt", "awa2_predicates.txt", "awa2_testclasses.txt", "predicate-matrix-binary.txt")


class Attributes(NamedTuple):
    """Classes and their attributes.

    Args:
        names: tuple of str (50,), such as "killer whale".
        attributes: float32 (50, 85), 1.0 where the class has the attribute.
        attribute_names: tuple of str (85,), such as "stripes".
        unseen: tuple of str, the ten test classes of the original split.
    """

    names: tuple
    attributes: np.ndarray
    attribute_names: tuple
    unseen: tuple


def awa_attributes():
    """Loads the table of Animals with Attributes 2, for pictures of your own or features of theirs.

    Reads the four text files from `$KERAS_TRANSFER_DATA/awa_attributes`, or downloads the archive once (32 kB).

    Returns:
        An `Attributes`. The original split has test classes that ImageNet has: see `imagenet_overlap`.

    Raises:
        ValueError: If a file is missing or of another form.

    Reference: C. H. Lampert, H. Nickisch, S. Harmeling, "Attribute-Based Classification for Zero-Shot Visual Object
    Categorization", TPAMI 2014; Y. Xian et al., TPAMI 2018, arXiv:1707.00600.
    """
    folder = data_folder("awa_attributes")
    if folder is not None and folder.is_dir():
        lacking = [name for name in _FILES if not (folder / name).is_file()]
        if lacking:
            raise ValueError(f"Expected the files {', '.join(_FILES)} in {folder}; received none of {lacking}.")
        return _table([(folder / name).read_text("utf-8") for name in _FILES])
    path = fetch("AwA2-base.zip", "awa_attributes", _URL, None, _from_zip)
    return _from_zip(path)


def _from_zip(path):
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            texts = [archive.read(f"Animals_with_Attributes2/{name.removeprefix('awa2_')}").decode() for name in _FILES]
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"Expected the archive of AwA2 in {path}; received: {error}.") from error
    return _table(texts)


def _table(texts):
    names, attributes = ([line.split()[-1] for line in text.splitlines() if line.strip()] for text in texts[:2])
    unseen = texts[2].split()
    table = np.array([line.split() for line in texts[3].splitlines() if line.strip()], "float32")
    if table.shape != (len(names), len(attributes)) or not set(unseen) < set(names):
        raise ValueError(
            f"Expected a table of {len(names)} classes and {len(attributes)} attributes, and test classes among them; "
            f"received {table.shape} and {unseen}."
        )
    names, unseen = (tuple(name.replace("+", " ") for name in part) for part in (names, unseen))
    return Attributes(names, table, tuple(attributes), unseen)

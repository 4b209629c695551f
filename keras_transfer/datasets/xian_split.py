"""The zero-shot benchmark of Xian et al.: ResNet-101 features, attributes and proposed splits of four data sets."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

_FILES = ("res101.mat", "att_splits.mat")
_ROWS = ("trainval_loc", "test_seen_loc", "test_unseen_loc")


class XianSplit(NamedTuple):
    """Features of all pictures of a data set, what describes its classes, and which rows are for what.

    Args:
        features: float32 (n, 2048).
        labels: int32 (n,), places among `descriptions`.
        descriptions: dict of class names to float32 (attributes,).
        train: int (rows,), places of the rows to train on, all of seen classes.
        test_seen: int (rows,), of those to test on of the seen classes.
        test_unseen: int (rows,), of those of the unseen classes.
        sha256: dict of file names to checksums: versions 1 and 2 of the split differ, and so do numbers on them.
    """

    features: np.ndarray
    labels: np.ndarray
    descriptions: dict
    train: np.ndarray
    test_seen: np.ndarray
    test_unseen: np.ndarray
    sha256: dict


def xian_split(path):
    """Loads `res101.mat` and `att_splits.mat` of one data set, with the proposed split.

    The archive, http://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip, has them in `xlsa17/data/<AWA2, CUB, SUN, APY>/`. It
    is not downloaded here: it has 1.5 GB.

    Args:
        path: Folder of the two files.

    Returns:
        A `XianSplit`.

    Raises:
        ValueError: If a file is missing or no such file, or an unseen class is among those to train on.
        ImportError: If SciPy is missing.

    Reference: Y. Xian, C. H. Lampert, B. Schiele, Z. Akata, "Zero-Shot Learning - A Comprehensive Evaluation of the
    Good, the Bad and the Ugly", TPAMI 2018, arXiv:1707.00600.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("Reading these files needs SciPy: pip install 'keras_transfer[recipes]'.") from error
    paths = [Path(path, name) for name in _FILES]
    lacking = [str(one) for one in paths if not one.is_file()]
    if lacking:
        raise ValueError(f"Expected the files {' and '.join(_FILES)} in {path}; received no {', '.join(lacking)}.")
    try:
        found, split = (loadmat(str(one)) for one in paths)
        features = np.ascontiguousarray(found["features"].T, "float32")
        labels = found["labels"].ravel().astype("int32") - 1
        attributes = split["att"].T.astype("float32")
        names = [str(np.ravel(name)[0]) for name in split["allclasses_names"].ravel()]
        rows = [split[name].ravel().astype("int64") - 1 for name in _ROWS]
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ValueError(f"Expected the files of Xian et al. in {path}; received: {error}.") from error
    if (
        len(attributes) != len(names)
        or len(features) != len(labels)
        or not 0 <= labels.min() <= labels.max() < len(names)
    ):
        raise ValueError(
            f"Expected a label from 1 to {len(names)} for each of {len(features)} rows, and attributes of each class; "
            f"received {len(labels)} labels up to {labels.max() + 1}, attributes of {len(attributes)}."
        )
    if any(part.min() < 0 or part.max() >= len(labels) for part in rows):
        raise ValueError(f"Expected rows from 1 to {len(labels)} in the split; received others.")
    seen, tested_seen, unseen = (set(labels[part].tolist()) for part in rows)
    if seen & unseen or not tested_seen <= seen:
        raise ValueError("Expected test classes that are not trained on; received a split in which they are.")
    sums = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in paths}
    return XianSplit(features, labels, dict(zip(names, attributes)), *rows, sums)

"""Office-Caltech: ten classes of objects, photographed four ways, as histograms of SURF features."""

import numpy as np

from keras_transfer.datasets.files import data_folder

OFFICE_CALTECH_DOMAINS = ("caltech", "amazon", "webcam", "dslr")


def office_caltech(domain):
    """Loads the SURF histograms of one domain of Office-Caltech: 1,123, 958, 295 or 157 pictures.

    Reads `$KERAS_TRANSFER_DATA/office_caltech_surf/<domain>_SURF_L10.mat`. It is not downloaded: there is no lasting
    address.

    Args:
        domain: `"caltech"`, `"amazon"`, `"webcam"` or `"dslr"`.

    Returns:
        Tuple of counts of 800 visual words, float32 (n, 800), and labels, int32 (n,), 0-9.

    Raises:
        ValueError: If the domain is unknown, or its file is missing or none of those.
        ImportError: If SciPy is missing.

    Reference: B. Gong, Y. Shi, F. Sha, K. Grauman, "Geodesic Flow Kernel for Unsupervised Domain Adaptation",
    CVPR 2012.
    """
    if domain not in OFFICE_CALTECH_DOMAINS:
        raise ValueError(f"Expected `domain` to be one of {OFFICE_CALTECH_DOMAINS}; received {domain!r}.")
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("Reading Office-Caltech needs SciPy: pip install 'keras_transfer[recipes]'.") from error
    folder, name = data_folder("office_caltech_surf"), f"{domain}_SURF_L10.mat"
    if folder is None or not (folder / name).is_file():
        found = "no such variable" if folder is None else f"no file {folder / name}"
        raise ValueError(
            f"Expected Office-Caltech in the folder that KERAS_TRANSFER_DATA names, as office_caltech_surf/{name}; "
            f"received {found}. It is not downloaded: get it from its authors."
        )
    try:
        found = loadmat(folder / name)
    except (ValueError, NotImplementedError, OSError, TypeError) as error:
        raise ValueError(f"Expected {folder / name} to be a file of MATLAB; received: {error}.") from error
    counts, labels = (np.asarray(found.get(key, ())) for key in ("fts", "labels"))
    labels = labels.ravel()
    if counts.ndim != 2 or len(counts) != len(labels) or not np.isin(labels, np.arange(1, 11)).all():
        raise ValueError(
            f"Expected `fts` (n, 800) and `labels` (n,) from 1 to 10 in {folder / name}; received shapes "
            f"{counts.shape} and {labels.shape}."
        )
    return counts.astype(np.float32), labels.astype(np.int32) - 1

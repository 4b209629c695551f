"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings of each."""

import io
import zipfile
import zlib

import numpy as np

from keras_transfer.datasets.files import data_folder, fetch
from keras_transfer.datasets.images import resize

_URL = "https://github.com/brendenlake/omniglot/raw/master/python/"
_MD5 = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
_DRAWERS, _SIDE = 20, 105
_RUNS, _WAYS = 20, 20  # of Lake's one-shot classification
_LAST_BACKGROUND = 964  # the characters of the background set are numbered from 1, those of the evaluation set go on
_VALIDATION = [range(27, 68), range(132, 178), range(251, 273), range(466, 488), range(729, 770)]
_CHARACTERS = {
    "train": [c for c in range(1, 1201) if not any(c in ids for ids in _VALIDATION)],
    "validation": [c for ids in _VALIDATION for c in ids],
    "test": list(range(1201, 1624)),
    "background": list(range(1, 965)),
    "evaluation": list(range(965, 1624)),
}


def omniglot(split="train", image_size=28):
    """Loads Omniglot: handwritten characters, 20 drawings of each, for few-shot learning.

    Reads `images_background.zip` and `images_evaluation.zip` of the original release, or their arrays `.npz`, from
    `$KERAS_TRANSFER_DATA/omniglot`; what is missing there is downloaded once (15 MB).

    Args:
        split: `"train"` (1,028 characters), `"validation"` (172, five alphabets) or `"test"` (423), as Vinyals et al.
            and Snell et al. use them, without the rotations, which `kt.streams.episodes` makes; or `"background"` (964)
            or `"evaluation"` (659), the sets of the original release, which overlap with those.
        image_size: side of the images in pixels, or a pair (height, width), bilinearly reduced from 105; None leaves
            them as they are.

    Returns:
        Tuple of images, uint8 (20 n, height, width, 1), ink 255 on 0, and labels, int32 (20 n,), 0 to n - 1
        in the order of the characters' numbers in the release.

    Raises:
        ValueError: If the split is unknown, or a file is corrupt or incomplete.
        ImportError: If Pillow is missing, which only the zip files need.

    Reference: B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, "Human-level concept learning through probabilistic
    program induction", Science 2015; splits: O. Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS
    2016, arXiv:1606.04080.
    """
    if split not in _CHARACTERS:
        raise ValueError(f"Expected `split` to be one of {tuple(_CHARACTERS)}; received {split!r}.")
    wanted = np.array(_CHARACTERS[split])
    images = []
    for name, first, last in (("background", 1, _LAST_BACKGROUND), ("evaluation", _LAST_BACKGROUND + 1, 1623)):
        here = wanted[(wanted >= first) & (wanted <= last)] - first
        if len(here):
            ink = _read(f"images_{name}", first, last - first + 1)[here].reshape(-1, _SIDE, _SIDE, 1)
            images += [
                resize(255 * part.astype(np.uint8), image_size) for part in np.array_split(ink, len(here) // 50 + 1)
            ]
    return np.concatenate(images), np.repeat(np.arange(len(wanted), dtype=np.int32), _DRAWERS)


def omniglot_runs(image_size=28):
    """Loads the one-shot runs of Lake et al.: 20 ways within one alphabet, 1 example and 1 query of each class.

    The harder protocol of Omniglot's authors: classes of one alphabet resemble one another, and the examples are of one
    drawer, the queries of another. Train on `omniglot("background")`; no character here is in it.

    Reads `all_runs.zip` of the original release from `$KERAS_TRANSFER_DATA/omniglot`, or downloads it once. The release
    states no checksum: whether all images and answers are there is checked instead.

    Args:
        image_size: side of the images in pixels, or a pair (height, width), bilinearly reduced from 105; None leaves
            them as they are.

    Returns:
        Tuple `(x, y)` of 20 episodes as `kt.streams.episodes` draws them: x is `{"support": (images, labels), "query":
        images}` with uint8 images (20, 20, height, width, 1), ink 255 on 0, and int32 labels (20, 20); y
        (20, 20) are the answers.

    Raises:
        ValueError: If the file is corrupt or incomplete.
        ImportError: If Pillow is missing.

    Example:

    ```python
    x, y = kt.datasets.omniglot_runs()
    report = kt.report.FewShotReport.measure(model, [(x, y)], data="omniglot", split="Lake's one-shot runs")
    ```

    Reference: B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, "The Omniglot Challenge: A 3-Year Progress Report", 2019,
    arXiv:1902.03477.
    """
    path = fetch("all_runs.zip", "omniglot", _URL + "one-shot-classification/all_runs.zip", None, _read_runs)
    supports, queries, answers = _read_runs(path)

    def reduced(runs):
        ink = 255 * np.array(runs, np.uint8).reshape(-1, _SIDE, _SIDE, 1)
        return (images := resize(ink, image_size)).reshape(_RUNS, _WAYS, *images.shape[1:])

    labels = np.tile(np.arange(_WAYS, dtype=np.int32), (_RUNS, 1))
    return {"support": (reduced(supports), labels), "query": reduced(queries)}, np.array(answers, np.int32)


def _read_runs(path):
    """Returns the ink of all examples, that of all queries, and the answers; a ValueError if any is missing."""
    supports, queries, answers = [], [], []
    try:
        with zipfile.ZipFile(path) as archive:
            names = {_in_run(name): name for name in archive.namelist() if "__MACOSX" not in name}
            for run in range(1, _RUNS + 1):
                lines = archive.read(names[f"run{run:02d}/class_labels.txt"]).decode().splitlines()
                pairs = [[_in_run(name) for name in line.split()] for line in lines if line.strip()]
                examples = sorted({example for _, example in pairs})  # a pair is a query and its example
                if not len(pairs) == len(examples) == _WAYS:
                    raise ValueError(f"{len(pairs)} queries of {len(examples)} classes in run {run}")
                supports.append([_ink(archive, names[example]) for example in examples])
                queries.append([_ink(archive, names[query]) for query, _ in pairs])
                answers.append([examples.index(example) for _, example in pairs])
            if np.shape(supports) != np.shape(queries) or np.shape(supports)[2:] != (_SIDE, _SIDE):
                raise ValueError(f"images of the shapes {np.shape(supports)[2:]} and {np.shape(queries)[2:]}")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"Expected {path} to hold the {_RUNS} runs of Omniglot; received: {error}.") from error
    return supports, queries, answers


def _in_run(name):
    """Returns a path from the folder of its run on, such as `run01/test/item01.png`."""
    return name[max(name.rfind("run"), 0) :]


def _ink(archive, name):
    """Returns where the ink of an image is, bool (105, 105)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Reading Omniglot's zip files needs Pillow: pip install 'keras_transfer[recipes]'") from error
    return ~np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("1"))


def _read(name, first, count):
    """Returns where the ink is, bool (count, 20, 105, 105)."""
    folder = data_folder("omniglot")
    if folder is not None and (folder / f"{name}.npz").exists() and not (folder / f"{name}.zip").exists():
        try:
            with np.load(folder / f"{name}.npz") as file:
                ink = ~file["images"]
        except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"Expected {folder / name}.npz to be complete; received: {error}.") from error
        if ink.shape != (count, _DRAWERS, _SIDE, _SIDE):
            shape = (count, _DRAWERS, _SIDE, _SIDE)
            raise ValueError(f"Expected images {shape} in {folder / name}.npz; received {ink.shape}.")
        return ink
    path = fetch(f"{name}.zip", "omniglot", _URL + f"{name}.zip", _MD5[f"{name}.zip"])
    ink, found = _read_zip(path, first, count)
    if not found.all():
        raise ValueError(f"Expected {found.size} images in {path}; received {found.sum()}.")
    return ink


def _read_zip(path, first, count):
    """Returns the ink of `<set>/<alphabet>/<character>/<number>_<drawer>.png`, and which of them there are."""
    ink = np.zeros((count, _DRAWERS, _SIDE, _SIDE), bool)
    found = np.zeros((count, _DRAWERS), bool)
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith(".png") or name.startswith("__MACOSX"):
                    continue
                number, drawer = (int(part) for part in name.rpartition("/")[2].removesuffix(".png").split("_"))
                place = number - first, drawer - 1
                ink[place] = _ink(archive, name)
                found[place] = True
    except (zipfile.BadZipFile, OSError, ValueError, IndexError) as error:
        raise ValueError(f"Expected {path} to be a complete archive of Omniglot; received: {error}.") from error
    return ink, found

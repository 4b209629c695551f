"""Models that recipes made, each with its card: to be served at once, or trained on."""

import difflib
import hashlib
import json
import pathlib
import warnings

import keras

__all__ = ["card", "load", "names", "path"]
CARD, MODEL = "card.json", "model.keras"


def names():
    """Returns the names of the models, sorted."""
    return sorted(found.parent.name for found in _folder().glob(f"*/{CARD}"))


def card(name):
    """Returns the card of a model: what for, data, measured quality, inputs, limits.

    Args:
        name: str, one of `names()`.

    Returns:
        A dict; `<path>/README.md` says the same for people.

    Raises:
        ValueError: if there is no model of that name.
    """
    known = names()
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
        raise ValueError(f"Expected the name of a model, such as {', '.join(close or known)}; received {name!r}.")
    return json.loads((_folder() / name / CARD).read_text(encoding="utf-8"))


def path(name):
    """Returns the folder of a model's versions, as a server takes it, once its files are what its card says.

    Args:
        name: str, one of `names()`.

    Returns:
        The `pathlib.Path` of the folder, which holds the SavedModel `1/` and, for people and `load`, `README.md`,
        `card.json` and `model.keras`.

    Raises:
        ValueError: if there is no model of that name; if a file is not the one that the card names by its SHA-256, is
            missing, or is in a version without being named.

    Example:

    ```python
    served = keras.layers.TFSMLayer(kt.zoo.path("digits_adapted") / "1", call_endpoint="serving_default")
    ```
    """
    stated, folder = card(name)["files"], _folder() / name
    for file, about in stated.items():
        there = folder / file
        found = hashlib.sha256(there.read_bytes()).hexdigest() if there.is_file() else "no file"
        if found != about["sha256"]:
            raise ValueError(f"Expected {there} with the SHA-256 {about['sha256']} of its card; received {found}.")
    served = (file for version in folder.iterdir() if version.name.isdecimal() for file in version.rglob("*"))
    more = sorted(str(file) for file in served if file.is_file() and file.relative_to(folder).as_posix() not in stated)
    if more:
        raise ValueError(f"Expected the versions of {name!r} to hold what its card names; received {more[0]} too.")
    return folder


def load(name):
    """Returns a model as Keras has it: it predicts, and is compiled to be trained on.

    It has the optimizer that its card names, in its first state. Where several adapters are served from one base, it is
    the base, and the adapters are files beside it.

    Args:
        name: str, one of `names()`.

    Returns:
        A compiled `keras.Model`.

    Raises:
        ValueError: as `path` does.

    Example:

    ```python
    model = kt.zoo.load("digits_adapted")
    print(kt.zoo.card("digits_adapted")["going_on"]["code"])
    ```
    """
    file = path(name) / MODEL
    with warnings.catch_warnings():  # it was saved before its optimizer had a state, which is most of such a file
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        return keras.models.load_model(file)


def _folder():
    """Where the models are: in the package, or in a checkout beside it."""
    inside = pathlib.Path(__file__).with_name("saved_models")
    return inside if inside.is_dir() else pathlib.Path(__file__).parents[1] / "saved_models"

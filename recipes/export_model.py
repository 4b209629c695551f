"""Exports a Keras model to a SavedModel that TF Serving loads, verified in a fresh process before it is published.

    keras-transfer export --model model.keras --images my_photos --classes cat dog

The requests are real inputs, as clients will send them: pictures of a folder, or an array. They set the names, shapes
and ranges of what is served. A version appears under `<saved_models>/<name>/`, whole or not at all.
"""

import dataclasses
import pathlib
from typing import Literal

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import runs

REQUESTS = 64  # pictures that are read


@dataclasses.dataclass(frozen=True)
class Requests:
    """The model, and real inputs for it."""

    model: pathlib.Path | None = None
    """File of the model, `.keras`."""
    trust: bool = False
    """Load a file that is a program too, as one with a TF Hub module in it is: only if you trust it."""
    images: pathlib.Path | None = None
    """Folder of pictures, in folders or not, that are reduced to the size that the model takes."""
    image_size: int | None = None
    """Side in pixels of these pictures; by default that of the model's input, where Keras knows it."""
    grey: bool = False
    """The model takes grey pictures, of one channel, where Keras does not know it."""
    array: pathlib.Path | None = None
    """Or a file `.npy` of inputs `(rows, ...)`, as the model takes them."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of an export."""

    requests: Requests = Requests()
    """The model, and real inputs for it."""
    name: str | None = None
    """Name of the model for the server; by default that of the file."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the outputs; by default the output is no classification."""
    outputs: Literal["logits", "probabilities", "multi_label"] | None = None
    """What the output is; by default logits where classes are given, and otherwise a prediction that is served as it
    is."""
    tolerance: float = 1e-5
    """Largest absolute difference to the model that the verification passes."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/<name>/<version>/`."""


def load(requests):
    """Returns the model and the inputs that `Requests` names.

    Raises:
        ValueError: if there is no such model, or not one kind of inputs; if pictures do not fit the model.
    """
    file = requests.model
    if file is None or not file.is_file():
        raise ValueError(f"Expected --model, a file .keras; received {file}.")
    if (requests.images is None) == (requests.array is None):
        raise ValueError(f"Expected --images or --array; received {requests.images} and {requests.array}.")
    loaded = keras.models.load_model(file, safe_mode=not requests.trust)
    if requests.array is not None:
        return loaded, np.load(requests.array, allow_pickle=False)
    side = requests.image_size
    if side is not None:
        return loaded, pictures(requests.images, (None, side, side, 1 if requests.grey else 3))
    try:
        shape = loaded.input_shape
    except AttributeError:
        raise ValueError("Expected --image-size, as Keras does not know it of this model; received none.") from None
    return loaded, pictures(requests.images, shape)


def pictures(folder, shape):
    """Returns pictures of a folder as a network of that input shape takes them, uint8 `(rows, height, width, 1 or 3)`.

    Raises:
        ValueError: if it takes no pictures of one size.
    """
    if not (len(shape) == 4 and None not in shape[1:3] and shape[-1] in (1, 3)):
        raise ValueError(f"Expected --array or --image-size for a model of inputs {shape}; received {folder} alone.")
    size = tuple(shape[1:3])
    files = kt.datasets.image_files(folder, size, labelled=False)
    images = files[np.linspace(0, len(files) - 1, min(len(files), REQUESTS)).astype(int)]
    if shape[-1] == 3:
        return images
    return np.rint(images @ np.array([0.299, 0.587, 0.114])).astype("uint8")[..., None]  # grey, as Pillow has it


def main(config):
    """Exports and verifies, and prints how to serve it; returns the path of the version."""
    runs.check(config)
    model, x = load(config.requests)
    file = config.requests.model
    name = config.name or file.stem
    options = {"classes": config.classes, "outputs": config.outputs, "tolerance": config.tolerance}
    version = kt.export(model, config.saved_models / name, x, **options)
    print("", f"Export: {version}", "", runs.serving(version), sep="\n")
    return version


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

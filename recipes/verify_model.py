"""Verifies a SavedModel against the Keras model that it was made from, in a fresh process without Keras.

    keras-transfer verify --export saved_models/pets --model model.keras --images my_photos

Every signature answers the requests, and is compared with the model; the weights are compared bit for bit.
"""

import dataclasses
import pathlib

import keras_transfer as kt
from keras_transfer.recipes import runs
from keras_transfer.recipes.export_model import Requests, load


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of a verification."""

    requests: Requests = Requests()
    """The model, and real inputs for it."""
    export: pathlib.Path | None = None
    """Folder of a version, or of versions: then the highest."""
    tolerance: float = 1e-5
    """Largest absolute difference to the model that passes."""


def main(config):
    """Verifies, and prints the largest difference of each signature; returns what `kt.serving.verify` found."""
    runs.check(config)
    if config.export is None or not config.export.is_dir():
        raise ValueError(f"Expected --export, a folder that `keras-transfer export` wrote; received {config.export}.")
    found = kt.serving.verify(config.export, *load(config.requests), config.tolerance)
    for signature, difference in found.differences.items():
        print(f"{signature}: largest difference {difference:.1e}")
    print(f"{len(found.stored)} weights, each stored once and bit for bit.")
    return found


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Runs `recipes/adapt_digits.py` on public pairs too, as the tables show them.

    python -m keras_transfer.recipes.studies.adapt_digits --pair usps_mnist --method dan --steps 2000

`usps_mnist`, `mnist_usps` and `mnist_mnistm` take up to 10 minutes for each method. They read USPS and MNIST from
`KERAS_TRANSFER_DATA` or download them, and MNIST-M from there. The first two take the 10,000 digits of MNIST's test
files: 8,000 to train on, 2,000 to test on. The last trains on MNIST's 60,000 digits and on what there is of MNIST-M's
training images, which are made of the same digits, and is tested on what there is of its test images.
"""

import dataclasses
from typing import Literal

import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import adapt_digits, runs


@dataclasses.dataclass(frozen=True)
class Config(adapt_digits.Config):
    """Settings of one run."""

    pair: Literal["printed_handwritten", "digits_photos", "usps_mnist", "mnist_usps", "mnist_mnistm"] = (
        "printed_handwritten"
    )
    """Labelled source and unlabelled target."""


def load(config):
    """Returns `(x, y)` for source, source_test, target and target_test, as `recipes/adapt_digits.py` does."""
    if config.pair in ("printed_handwritten", "digits_photos"):
        return adapt_digits.load(config)
    parts = ("train", "test")
    if config.pair == "mnist_mnistm":  # MNIST-M's test images are made of MNIST's test digits: none of these trains
        source, source_test = ((np.repeat(x, 3, axis=-1), y) for x, y in map(kt.datasets.mnist, parts))
        target, target_test = (kt.datasets.mnist_m(part, image_size=28) for part in parts)
    else:
        domains = {
            "mnist": adapt_digits.split(kt.datasets.mnist("test"), 8000),
            "usps": [kt.datasets.usps(part, image_size=28) for part in parts],
        }
        (source, source_test), (target, target_test) = (domains[name] for name in config.pair.split("_"))
    return {"source": source, "source_test": source_test, "target": target, "target_test": target_test}


def main(config):
    """Runs the recipe on the pair; returns the report's dict."""
    return adapt_digits.main(config, load)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Runs `recipes/adapt_digits.py` on public pairs too, as the tables show them.

    python -m keras_transfer.recipes.studies.adapt_digits --pair usps_mnist --method dan --steps 2000

`usps_mnist`, `mnist_usps` and `mnist_mnistm` take up to 10 minutes for each method. They read USPS, MNIST and BSDS500
from `KERAS_TRANSFER_DATA` or download them. Of MNIST they take the 10,000 digits of its test files: 8,000 to train on,
2,000 to test on.
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
    mnist = kt.datasets.mnist("test")
    if config.pair == "mnist_mnistm":  # the source's training digits are also the target's, without their labels
        source, source_test = adapt_digits.split((np.repeat(mnist[0], 3, axis=-1), mnist[1]), 8000)
        target, target_test = adapt_digits.split(kt.datasets.mnist_m_like("test"), 8000)
    else:
        domains = {
            "mnist": adapt_digits.split(mnist, 8000),
            "usps": [kt.datasets.usps(part, image_size=28) for part in ("train", "test")],
        }
        (source, source_test), (target, target_test) = (domains[name] for name in config.pair.split("_"))
    return {"source": source, "source_test": source_test, "target": target, "target_test": target_test}


def main(config):
    """Runs the recipe on the pair; returns the report's dict."""
    return adapt_digits.main(config, load)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

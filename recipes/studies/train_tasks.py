"""Compares what several tasks share and what they count, against a model for each task.

    python -m keras_transfer.recipes.studies.train_tasks
    python -m keras_transfer.recipes.studies.train_tasks --data multi_fashion --missing 0 --architecture cross_stitch \\
        --weighting cagrad

By default nothing is downloaded: the letters of `recipes/train_attributes.py`. `multi_fashion` is two garments in one
image, a task each, from Fashion-MNIST, which `keras.datasets` downloads once (30 MB).

All models have the same three 3 x 3 convolutions of 16, 32 and 64 with pooling, dropout and a Dense of 256, the same
number of steps and the same rates to choose from. On one core the default takes about an hour, 60,000 images of
`multi_fashion` for 10 epochs 40 minutes. Measured numbers: `results/train_tasks/<case>.json`.
"""

import dataclasses
import pathlib
from typing import Literal

import keras
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import runs, train_attributes
from keras_transfer.recipes.train_attributes import UNITS, VALIDATION, stages, tower

WEIGHTINGS = {
    "equal": lambda: None,
    "uncertainty": lambda: kt.weightings.Uncertainty(rate=10.0, from_first_losses=True),
    "dynamic_weight_average": kt.weightings.DynamicWeightAverage,
    "random": kt.weightings.RandomWeighting,
    "grad_norm": kt.weightings.GradNorm,
    "pcgrad": kt.weightings.PCGrad,
    "mgda": kt.weightings.MGDA,
    "cagrad": kt.weightings.CAGrad,
}


def flat():
    """Returns a new network from images to the activations that experts read."""
    return keras.Sequential([*stages()[:-1], layers.Flatten(), layers.Dropout(0.3)])


def experts():
    """Returns two new networks to features `(batch, UNITS)`."""
    return [layers.Dense(UNITS, activation="relu") for _ in range(2)]


def progressive(heads, **settings):
    """Returns two shared experts beside two of each task."""
    own = {task: [experts()] for task in heads}
    return kt.models.ProgressiveExtraction(flat(), [experts()], own, heads, **settings)


ARCHITECTURES = {
    "shared_encoder": lambda heads, **kw: kt.models.SharedEncoder(tower(), heads, **kw),
    "soft_sharing": lambda heads, **kw: kt.models.SoftSharing({task: tower() for task in heads}, heads, **kw),
    "cross_stitch": lambda heads, **kw: kt.models.CrossStitch({task: stages() for task in heads}, heads, **kw),
    "mixture_of_experts": lambda heads, **kw: kt.models.MixtureOfExperts(flat(), experts() + experts(), heads, **kw),
    "progressive_extraction": progressive,
}


@dataclasses.dataclass(frozen=True)
class Config(train_attributes.Config):
    """Settings of one run."""

    data: Literal["glyphs", "multi_fashion"] = "glyphs"
    """Four attributes of rendered letters, or two garments in one image."""
    architecture: Literal[tuple(ARCHITECTURES)] = "shared_encoder"
    """What the tasks share."""
    weighting: Literal[tuple(WEIGHTINGS)] = "equal"
    """What the tasks count."""
    images: int = 20_000
    """Training images, 2,000 of which choose the rates; of multi_fashion at most 60,000."""
    runs: pathlib.Path = pathlib.Path("runs/train_tasks")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/train_tasks/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/train_tasks/<data>_<architecture>_<weighting>.json`; by default
    none."""


def load(config):
    """Returns `{part: images}`, `{part: {task: labels}}` with -1 for none, and `{task: class names}`."""
    if config.data == "glyphs" or config.images <= VALIDATION:
        return train_attributes.load(config)
    parts = [kt.datasets.multi_fashion(split) for split in ("train", "test")]
    garments = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    names = dict.fromkeys(("left", "right"), garments)
    images = [parts[0].images[: config.images], parts[1].images]
    labels = [{task: getattr(part, task)[: len(x)] for task in names} for part, x in zip(parts, images)]
    return *train_attributes.hold_out(images, labels), names


def main(config):
    """Trains all models, compares, draws, exports and verifies; returns the record."""

    def make(heads):
        return ARCHITECTURES[config.architecture](heads, weighting=WEIGHTINGS[config.weighting](), missing=-1)

    case = f"{config.data}_{config.architecture}_{config.weighting}"
    return train_attributes.main(config, load, make, "train_tasks", case)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

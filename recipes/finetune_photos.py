"""Fine-tunes a pretrained backbone on a few labels of your own pictures, beside a logistic regression, and exports it.

    keras-transfer fine-tune --images my_photos --backbone applications:MobileNetV2
    keras-transfer fine-tune --images my_photos.csv --backbone hub:<handle> --labels-per-class 10

`my_photos/<class>/*.jpg`, or a CSV file of paths and labels. A fifth of the pictures is the test, which nothing learns
from or is chosen by. Without `--images` nothing is downloaded: Georgian letters, and a small CNN that learns to read
Greek and Cyrillic first, in about 3 minutes on two cores.

The baselines are logistic regressions of the backbone's features, of the pictures and of augmented views, with a
penalty chosen by cross-validation. How deep, how fast and how far fine-tuning goes is chosen by cross-validation on the
labelled pictures too; that the head alone is the best is one of the answers. Measured numbers: `results/tune_photos/`.
"""

import dataclasses
import functools
import pathlib

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters, own_pictures, pictures, runs
from keras_transfer.recipes.few_labels import draw, predict

BASELINES = {"logistic_regression": "plain", "logistic_regression_views": "views"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: own_pictures.Options = own_pictures.Options()
    """Your own pictures, and the backbone."""
    labels_per_class: int = 50
    """Labelled pictures of each class that are learned from, at most; drawn anew for each seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of the labelled pictures and one training for each; at least two, for an interval."""
    views: int = 16
    """Augmented views of each labelled picture, the picture itself among them."""
    depths: tuple[float, ...] = (0.5, 0.25)
    """Shares of the backbone that may train, from the output, the preferred one first; 1 is all of it."""
    rates: tuple[float, ...] = (3e-4, 1e-3)
    """Learning rates to choose from, at the start of a cosine decay to 0, the preferred one first."""
    steps: tuple[int, ...] = (100,)
    """Numbers of training steps to choose from."""
    batch_size: int = 16
    """Views in a step."""
    pretraining_images: int = 20_000
    """Images of letters that the small CNN is pretrained on where there are no pictures of yours, five times over."""
    runs: pathlib.Path = pathlib.Path("runs/finetune_photos")
    """Folder in which each run makes a folder with its config, report, pictures and the model to go on with."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/finetune_photos/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/finetune_photos/<folder>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config, run):
    """Returns pictures that train and that test, class names, the backbone and what makes the layers of a view.

    Pictures are a pair of an array, or of `kt.datasets.ImageFiles` that stay on disk, and labels.
    """
    if config.data.images is not None:
        data = own_pictures.load(config.data)
        parts = [(files, files.labels) for files in (data.train, data.test)]
        return *parts, data.class_names, own_pictures.backbone(config.data), photographs
    images, labels, names = finetune_letters.load()
    test, train = np.split(np.random.default_rng(0).permutation(len(labels)), [len(labels) // 5])
    pretrained = run.part("pretraining", lambda: ({}, {"encoder": finetune_letters.pretrain(config)}))[1]["encoder"]
    return (images[train], labels[train]), (images[test], labels[test]), names, pretrained, finetune_letters.changes


def photographs():
    """Returns layers that change a photograph as another camera would."""
    change = [layers.RandomFlip("horizontal"), layers.RandomBrightness(0.15), layers.RandomTranslation(0.1, 0.1)]
    return change + [layers.RandomZoom((-0.3, 0.1)), layers.RandomRotation(0.04), layers.RandomContrast(0.2)]


def tune(config, seed, backbone, change, train, test, features):
    """Fine-tunes on a draw of labelled pictures; returns `{arm: metrics}`, what was chosen, and the model."""
    images, labels = train
    few = draw(labels, config.labels_per_class, seed)
    tuned = kt.finetuning.tune(
        backbone,
        images[few],
        labels[few],
        keras.Sequential(change()),
        views=config.views,
        depths=config.depths,
        rates=config.rates,
        steps=config.steps,
        batch_size=config.batch_size,
        seed=seed,
    )
    found = {
        arm: {"accuracy": float(tuned.probes[probe].score(features, test[1]))}
        for arm, probe in BASELINES.items()
        if probe in tuned.probes
    }
    right = predict(tuned.model, test[0]).argmax(-1) == test[1]
    found["tuned"] = {"accuracy": float(right.mean())}
    chosen = {**tuned.chosen._asdict(), "began": tuned.began, "seconds": tuned.seconds}
    print(f"seed {seed}, chosen: {chosen}", flush=True)
    return {"arms": found, "chosen": chosen}, tuned.model


def main(config):
    """Fine-tunes for each seed, reports, draws, exports and verifies; returns the record."""
    case = config.data.images.stem if config.data.images else "letters"
    run = runs.Run(config, "finetune_photos", case)
    train, test, names, backbone, change = load(config, run)
    features = predict(backbone, test[0])
    metrics, chosen, served = {}, {}, None

    def part(seed):
        found, model = tune(config, seed, backbone, change, train, test, features)
        return found, {"model": model} if seed == config.seeds[0] else {}

    for seed in config.seeds:
        found, networks = run.part(f"seed {seed}", functools.partial(part, seed), seed)
        served, chosen[seed] = served or networks["model"], found["chosen"]
        for arm, measured in found["arms"].items():
            metrics.setdefault(arm, {})[seed] = measured
            print(f"seed {seed}, {arm}: {measured['accuracy']:.3f}", flush=True)

    shown = np.random.default_rng(0).permutation(len(test[1]))[:200]
    x, y = test[0][shown], test[1][shown]
    figures = {"predictions": pictures.predictions(x, y, served.predict(x, verbose=0), names)}
    record = {"accuracy": metrics, "chosen": chosen}
    if len(config.seeds) > 1:
        baselines = tuple(arm for arm in BASELINES if arm in metrics)
        record = kt.report.TransferReport(metrics, baselines, "accuracy", {"chosen": chosen})
    export = {"x": x, "classes": names, "metrics": metrics["tuned"][config.seeds[0]]}
    return run.finish(record, figures, model=served, **export)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Fine-tunes a pretrained encoder on ten labels of each new class, beside a logistic regression, and exports it.

    python -m keras_transfer.recipes.finetune_letters

Nothing is downloaded: a small CNN learns to read Greek and Cyrillic letters, and is fine-tuned on Georgian ones. LP-FT:
a head is fitted to the features of the frozen encoder, then all weights train from there. Each split draws the labelled
images anew and is tested on all others. About 4 minutes on two cores.

Photographs, backbones from ImageNet and other ways to fine-tune, such as LoRA: `recipes/studies/finetune_photos.py`,
whose measured numbers are in `results/finetune_photos/`.
"""

import dataclasses
import functools
import math
import pathlib
import time

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs
from keras_transfer.recipes.few_labels import draw

IMAGES = 4000  # of Georgian letters, those to train on among them
BASELINES = ("logistic_regression", "logistic_regression_views")  # of features, of the images and of their views


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    labels_per_class: int = 10
    """Labelled images of each class."""
    pretraining_images: int = 20_000
    """Images of letters that the encoder is pretrained on, five times over."""
    splits: tuple[int, ...] = (0, 1, 2)
    """One run of every arm for each; at least two, for an interval."""
    steps: int = 1980
    """Training steps of all weights, rounded to whole passes over the views."""
    batch_size: int = 32
    """Images in a step."""
    views: int = 24
    """Augmented views of each labelled image, the image itself among them."""
    learning_rate: float = 1e-2
    """The learning rate of Adam at the start of a cosine decay to 0."""
    runs: pathlib.Path = pathlib.Path("runs/finetune_letters")
    """Folder in which each run makes a folder with its config, report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/finetune_letters/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/finetune_letters/georgian_<labels>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load():
    """Returns images of Georgian letters, their labels and the letters."""
    letters = kt.datasets.script_letters("georgian")
    return *kt.datasets.glyphs(letters, n=IMAGES, seed=1)[:2], list(letters)


def pretrain(config):
    """Returns a small CNN that has learned to read Greek and Cyrillic letters."""
    keras.utils.set_random_seed(0)
    letters = kt.datasets.script_letters("greek") + kt.datasets.script_letters("cyrillic")
    images, labels, _, _ = kt.datasets.glyphs(letters, n=config.pretraining_images, seed=0)
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=128)
    steps = 5 * math.ceil(len(images) / 128)
    model = keras.Sequential([encoder, layers.Dense(len(letters))])
    compile_model(model, keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)))
    model.fit(images, labels, batch_size=128, epochs=5, verbose=2)
    return encoder


def build(pretrained):
    """Returns a new encoder with the pretrained weights."""
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=128)
    encoder.set_weights(pretrained.get_weights())
    return encoder


def draw_split(per_class, labels, split):
    """Returns the places of so many labelled images of each class, and of all others, which are the test."""
    chosen = draw(labels, per_class, split)
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def changes():
    """Returns layers that keep a letter's black margin; they lie as wide apart as the letters of a font."""
    fill = {"fill_mode": "constant", "fill_value": 0.0}
    turn = [layers.RandomRotation(0.03, **fill), layers.RandomZoom((-0.1, 0.2), **fill)]
    return [*turn, layers.RandomTranslation(0.1, 0.1, **fill)]


def augment(config, images, split, make=changes):
    """Returns `views` views of each image, uint8, the images themselves first."""
    keras.utils.set_random_seed(split)  # before the layers, which draw their seeds when they are made
    pipeline = keras.Sequential(make())
    views = [pipeline(images.astype("float32"), training=True) for _ in range(config.views - 1)]
    return np.concatenate([images, *(np.clip(view, 0, 255).astype("uint8") for view in views)])


def compile_model(model, optimizer):
    """Compiles with the loss and metric of all arms."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])


def passes(config, steps, rows):
    """Returns the number of whole passes over the rows that is nearest to the steps."""
    return max(1, round(steps / math.ceil(rows / config.batch_size)))


def fit(config, title, model, x, y, rate, steps, optimizer=lambda adam: adam, callbacks=()):
    """Trains with Adam and a cosine decay; returns the history."""
    epochs = passes(config, steps, len(x))
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * math.ceil(len(x) / config.batch_size))
    compile_model(model, optimizer(keras.optimizers.Adam(schedule)))
    callbacks = [*callbacks, runs.progress(title, epochs)]
    return model.fit(x, y, config.batch_size, epochs, verbose=0, callbacks=callbacks).history


def fit_probes(encoder, views, labels, few):
    """Fits the baselines to the features of the first `few` rows, and of all; yields arm, probe, score and seconds.

    The score is the best accuracy on labelled images held out, by which the penalty was chosen.
    """
    start = time.perf_counter()
    features = kt.backbones.cached_features(encoder, views, verbose=False)
    extraction = time.perf_counter() - start
    for arm, blocks in zip(BASELINES, (1, len(views) // few)):
        start, rows = time.perf_counter(), blocks * few
        probe, scores = kt.metrics.tuned_probe(features[:rows], labels[:rows], blocks)
        seconds = time.perf_counter() - start + extraction * rows / len(features)
        yield arm, probe, max(scores.values(), default=0.0), seconds


def accuracy(model, x, y):
    """Returns the share of right answers."""
    return float((model.predict(x, batch_size=128, verbose=0).argmax(-1) == y).mean())


def main(config):
    """Runs every arm over the splits, reports, draws, exports and verifies; returns the report's dict."""
    if len(config.splits) < 2:
        raise ValueError(f"Expected at least 2 splits for an interval; received {config.splits}.")
    case = f"georgian_{config.labels_per_class}"
    run, (x, y, classes) = runs.Run(config, "finetune_letters", case), load()
    pretrained = run.part("pretraining", lambda: ({}, {"encoder": pretrain(config)}))[1]["encoder"]
    metrics, histories, kept = {arm: {} for arm in (*BASELINES, "lp_ft")}, {"lp_ft": []}, None

    def heads(views, labels, few, rest):
        encoder, found, best = build(pretrained), {}, None
        features = encoder.predict(x[rest], batch_size=128, verbose=0)
        for arm, probe, score, seconds in fit_probes(encoder, views, labels, len(few)):
            found[arm] = {"accuracy": float(probe.score(features, y[rest])), "seconds": seconds}
            best = max(best or (score, probe), (score, probe), key=lambda pair: pair[0])
        return found, {"head": keras.Sequential([keras.Input(features.shape[1:]), kt.metrics.probe_head(best[1])])}

    def lp_ft(split, head, views, labels, rest):
        model = keras.Sequential([build(pretrained), head])
        start = time.perf_counter()
        history = fit(config, f"lp_ft, split {split}", model, views, labels, config.learning_rate, config.steps)
        measured = {"seconds": time.perf_counter() - start, "accuracy": accuracy(model, x[rest], y[rest])}
        networks = {"model": model} if split == config.splits[0] else {}
        return {"metrics": measured, "history": history}, networks

    for split in config.splits:
        few, rest = draw_split(config.labels_per_class, y, split)
        views, labels = augment(config, x[few], split), np.tile(y[few], config.views)
        fit_heads = functools.partial(heads, views, labels, few, rest)
        found, networks = run.part(f"heads, split {split}", fit_heads, split)
        tune = functools.partial(lp_ft, split, networks["head"], views, labels, rest)
        more, networks = run.part(f"lp_ft, split {split}", tune, split)
        for arm, measured in (found | {"lp_ft": more["metrics"]}).items():
            metrics[arm][split] = measured
        histories["lp_ft"].append(more["history"])
        kept = kept or (networks["model"], x[few], views[len(few) :], x[rest], y[rest])

    model, labelled, views, x, y = kept  # of the first split, whatever its accuracy
    report = kt.report.TransferReport(metrics, BASELINES, "accuracy", {"histories": histories})
    figures = {
        "samples": pictures.samples({"labelled": labelled, "views": views}),
        "curves": pictures.curves(histories),
        "predictions": pictures.predictions(x, y, model.predict(x, verbose=0), classes),
    }
    return run.finish(report, figures, model=model, x=x, classes=classes, metrics=metrics["lp_ft"])


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Tells pictures of classes that no training showed, by attributes or words; new classes come without training.

    python -m keras_transfer.recipes.recognise_unseen
    python -m keras_transfer.recipes.recognise_unseen --data emoji --split random
    python -m keras_transfer.recipes.recognise_unseen --images photos --descriptions classes.csv --backbone \
        applications:MobileNetV2

By default letters: 200 with diacritics are unseen, and so are the fonts of the test, two of them (`--split styles`) or
the Serif family (`family`). `emoji`: a fifth of the classes is unseen, at random, with the other maker's style
(`style`), or by whole subcategories; it reads `KERAS_TRANSFER_DATA` or downloads 136 MB. Of your own pictures a fifth
of the classes is held out for each seed; classes of the CSV file (`class`, and attributes or `description`) that have
no pictures are served too. About 25 minutes for three seeds of letters on one core, 5 for emoji. Measured numbers:
`results/recognise_unseen/<case>.json`.

`eszsl` (the baseline) and `sae` solve for a matrix from features to descriptions, `bilinear` trains it, of letters with
the encoder beneath, whose features the others take. `dual` trains both towers to the names, embedded by a locked
all-MiniLM-L6-v2 (extra `text`); `words` trains the encoder of letters on names alone. With `--generalised` answers come
from seen and unseen classes: U, S and H as they are, with the penalty and the gate that held-out classes of the
training choose, and with the penalty that is best on the test, which is an oracle.
"""

import dataclasses
import functools
import pathlib
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs, unseen_classes

ARMS = ("eszsl", "sae", "bilinear", "dual", "words")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal[tuple(unseen_classes.SPLITS)] = "glyphs"
    """What is told."""
    split: Literal[unseen_classes.HELD_OUT] | None = None
    """What is unseen: by default `styles` of letters and `random` of emoji."""
    images: pathlib.Path | None = None
    """Your own pictures in place of that, a folder with one folder for each class."""
    descriptions: pathlib.Path | None = None
    """CSV file that describes their classes, and others: a column `class`, and attributes as numbers or texts in
    `description`, `description_2` and so on."""
    backbone: str = "small_cnn"
    """The network of emoji and of your own pictures, which stays as it is, such as `applications:MobileNetV2`,
    `keras_hub:<preset>` or `file:<path>.keras`; by default of emoji ImageNet's EfficientNet-Lite0."""
    image_size: int = 96
    """Side of emoji and of your own pictures in pixels."""
    arms: tuple[Literal[ARMS], ...] = ARMS
    """What is tried; `eszsl` among it."""
    generalised: bool = False
    """Tell seen and unseen classes from one another too."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of the unseen classes and one training of every arm for each; at least two, for an interval."""
    letters: int = 48_000
    """Images of letters to train on."""
    tests: int = 3000
    """Images of unseen letters to test on, and as many of seen ones."""
    epochs: int = 8
    """Passes over the letters."""
    batch_size: int = 128
    """Rows in a step."""
    learning_rate: float = 2e-3
    """Of Adam, at the start of a cosine decay to 0."""
    head_epochs: int = 20
    """Passes over features, where they do not train: `bilinear` of emoji and of your own pictures, and `dual`."""
    head_rate: float = 1e-3
    """Of AdamW on features."""
    decay: float = 0.05
    """Weight decay of AdamW on features."""
    runs: pathlib.Path = pathlib.Path("runs/recognise_unseen")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/recognise_unseen/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/recognise_unseen/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def new_encoder():
    """Returns a new network from images of letters to features: four convolutions, places kept, and a narrow layer."""
    x = images = keras.Input((28, 28, 1), name="images")
    x = layers.Rescaling(1 / 255)(x)
    for block, filters in enumerate((16, 32, 64, 128)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D()(x) if block < 3 else x
    x = layers.Dense(256, activation="relu")(layers.Dropout(0.1)(layers.Flatten()(x)))
    return keras.Model(images, x, name="encoder")


def scaled(features):
    """Returns a network that standardises features; nothing of it trains."""
    scale = layers.Normalization()
    scale.adapt(features)
    return keras.Sequential([keras.Input(features.shape[1:]), scale], name="features")


def compiled(model, steps, rate, decay=None, loss=None):
    """Returns a model compiled with Adam, or with AdamW, whose rate falls to 0 as a cosine."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = keras.optimizers.Adam(schedule) if decay is None else keras.optimizers.AdamW(schedule, decay)
    model.compile(optimizer, loss)
    return model


def bilinear(config, problem, encoder, vectors, centred, rate, epochs, decay=None, title=""):
    """Trains the matrix from features to descriptions, and the encoder beneath where it trains."""
    (x, y), dense = problem.train, layers.Dense(vectors.shape[1], use_bias=False)
    described = problem.described(vectors)
    model = kt.models.BilinearCompatibility(encoder, dense, described, problem.seen_names, centred=centred)
    softmax = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compiled(model, epochs * -(-len(x) // config.batch_size), rate, decay, softmax)
    model.fit(x, y, config.batch_size, epochs, verbose=0, callbacks=[runs.progress(title, epochs)])
    return model


def dual(config, problem, scale, features, words, title):
    """Trains two towers, on features and on what MiniLM says of the texts; returns the model of all classes."""
    said = (words - words[problem.seen].mean(0))[:, None]
    towers = [
        keras.Sequential([keras.Input(features.shape[1:]), scale, layers.Dropout(0.1), layers.Dense(256)]),
        keras.Sequential([keras.Input(words.shape[1:]), layers.Dense(256)]),
    ]
    size = min(2 * config.batch_size, len(np.unique(problem.train[1])))
    steps, epochs = max(1, len(features) // size), config.head_epochs
    stream = kt.streams.described(features, said, problem.train[1], size, steps, seed=0)
    model = compiled(kt.models.DualEncoder(*towers), epochs * steps, config.head_rate, config.decay)
    model.fit(stream, epochs=epochs, shuffle=False, verbose=0, callbacks=[runs.progress(title, epochs)])
    return kt.models.LabelDescriptions.from_source(model, dict(zip(problem.names, said)), problem.seen_names)


def learn(config, problem, seed, words):
    """Trains the arms on a problem.

    Args:
        config: `Config`.
        problem: `unseen_classes.Problem`; of letters its rows are images, else features.
        seed: int.
        words: array `(classes, dim)`, what MiniLM says of the texts; or None.

    Returns:
        `{arm: (model, rows of the test as it takes them)}`.
    """
    (x, y), x_test = problem.train, problem.test[0]
    by_words = problem.attributes is None
    said, found, images = words if by_words else problem.attributes, {}, x.ndim == 4
    if images:
        train = functools.partial(bilinear, config, problem, rate=config.learning_rate, epochs=config.epochs)
        found["bilinear"] = train(new_encoder(), said, by_words, title=f"bilinear, seed {seed}"), x_test
        if "words" in config.arms and words is not None:
            keras.utils.set_random_seed(seed)
            found["words"] = train(new_encoder(), words, True, title=f"words, seed {seed}"), x_test
        encoder = found["bilinear"][0].served[0]
        x, x_test = (encoder.predict(part, batch_size=256, verbose=0) for part in (x, x_test))
    scale = scaled(x)
    if not images:
        settings = (config.head_rate, config.head_epochs, config.decay, f"bilinear, seed {seed}")
        found["bilinear"] = bilinear(config, problem, scale, said, by_words, *settings), x_test
    rows, tested = (scale.predict(part, batch_size=1024, verbose=0) for part in (x, x_test))
    for arm, method in (("eszsl", kt.models.ESZSL), ("sae", kt.models.SAE)):
        if arm in config.arms:
            found[arm] = method.solve(rows, y, problem.described(said), centred=by_words, seed=seed), tested
    if "dual" in config.arms and words is not None:
        keras.utils.set_random_seed(seed)
        found["dual"] = dual(config, problem, scale, x, words, f"dual, seed {seed}"), x_test
    return {arm: found[arm] for arm in config.arms if arm in found}


def logits_of(model, rows):
    """Returns what a model says of rows."""
    return model.predict(rows, batch_size=256, verbose=0)


def measured(model, rows, problem, chosen=None):
    """Returns the metrics of an arm, and what the pictures need.

    Args:
        model: trained model of all classes.
        rows: rows of the test, as it takes them.
        problem: `unseen_classes.Problem`.
        chosen: penalty and gate that were chosen on held-out classes; None: only unseen classes are told from one
            another.
    """
    logits, y, seen = logits_of(model, rows), problem.test[1], problem.seen
    unseen, accuracy = ~seen[y], kt.metrics.class_accuracy
    among = np.where(seen, -np.inf, logits)[unseen]
    found = {"unseen_accuracy": accuracy(y[unseen], among), "top_5_accuracy": accuracy(y[unseen], among, top=5)}
    if chosen is None:
        return found, None
    curve = kt.metrics.seen_unseen(logits, y, seen)
    model.calibrate(gate=chosen["gate"])
    gated = logits_of(model, rows)
    model.calibrate(penalty=chosen["penalty"])
    parts = {"plain": curve.at(0.0), "penalty": curve.at(chosen["penalty"]), "oracle": curve.at(curve.best)}
    s, u = (accuracy(y[side], gated[side]) for side in (~unseen, unseen))
    parts["gate"] = {"seen": s, "unseen": u, "harmonic": 2 * s * u / max(s + u, 1e-12)}
    found |= {f"{kind}_{side}_accuracy": value for kind, of in parts.items() for side, value in of.items()}
    return {**found, "curve_accuracy": curve.area}, {"seen": curve.seen.tolist(), "unseen": curve.unseen.tolist()}


def choose(held, problem):
    """Returns penalty and gate of each arm `{arm: ...}`, chosen on held-out classes of the training."""
    chosen = {}
    for arm, (model, rows) in held.items():
        side = logits_of(model, rows), problem.test[1], problem.seen
        chosen[arm] = {"penalty": kt.metrics.seen_unseen(*side).best, "gate": kt.metrics.seen_gate(*side).tolist()}
    return chosen


def one_seed(config, data, seed):
    """Draws the unseen classes, trains, measures; returns what was found, and the model to keep."""
    problem, words = data.problem(config, seed), data.words
    chosen = {}
    if config.generalised:
        held = unseen_classes.held_out(problem, seed)
        known = None if words is None else words[problem.seen]
        chosen = choose(learn(config, held, seed, known), held)
    keras.utils.set_random_seed(seed)
    trained, found, curves = learn(config, problem, seed, words), {}, {}
    for arm, (model, rows) in trained.items():
        found[arm], curves[arm] = measured(model, rows, problem, chosen.get(arm))
    kept = {"bilinear": trained["bilinear"][0]} if seed == config.seeds[0] else {}
    return {"metrics": found, "curves": curves, "chosen": chosen}, kept


def main(config):
    """Trains every arm with every seed, reports, draws, exports and verifies; returns the record."""
    if len(config.seeds) < 2 or not {"eszsl", "bilinear"} <= set(config.arms):
        raise ValueError(
            "Expected at least 2 seeds, and the arms `eszsl` and `bilinear`; received "
            f"{config.seeds} and {config.arms}."
        )
    data = unseen_classes.load(config)
    run = runs.Run(config, "recognise_unseen", data.case)
    metrics, curves, kept = {}, {}, {}
    for seed in config.seeds:
        found, networks = run.part(f"seed {seed}", functools.partial(one_seed, config, data, seed), seed)
        for arm, values in found["metrics"].items():
            metrics.setdefault(arm, {})[seed] = values
        curves, kept = curves or found["curves"], kept or networks
        print(f"seed {seed}: {found['metrics']}", flush=True)
    report = kt.report.TransferReport(metrics, ["eszsl"], "unseen_accuracy", extra={"classes": len(data.names)})
    problem = data.problem(config, config.seeds[0])
    model, (x, y) = kept["bilinear"], problem.test
    rows = np.flatnonzero(~problem.seen[y])
    rows = np.random.default_rng(0).permutation(rows)[:40]
    among = np.where(problem.seen, -np.inf, logits_of(model, x[rows]))
    shown = data.pictures(problem, rows)
    figures = {} if shown is None else {"unseen": pictures.predictions(shown, y[rows], among, problem.names)}
    if config.generalised:
        figures["seen_unseen"] = pictures.seen_unseen(curves)
    served, requests = data.served(model)
    export = {"model": served, "x": requests, "metrics": metrics["bilinear"][config.seeds[0]]}
    return run.finish(report, figures, tolerance=1e-4, **export)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

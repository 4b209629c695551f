"""Adapts a digit classifier to a domain without labels, holds it against source-only training, and exports it.

    python -m keras_transfer.recipes.adapt_digits
    python -m keras_transfer.recipes.adapt_digits --pair digits_photos --method adamatch shot dann

Nothing is downloaded. The default pair, simulated printed digits to real handwritten ones, takes about 4 minutes on two
cores. USPS, MNIST and MNIST-M: `recipes/studies/adapt_digits.py`. All arms but `source_only_plain` and `dann` learn
from the same augmented views of the source. Measured numbers: `results/adapt_digits/<pair>.json`; how the settings were
chosen: `results/adapt_digits/selection.json`.
"""

import dataclasses
import functools
import math
import pathlib
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import digit_views, domains, pictures, runs

CLASSES = "0123456789"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    pair: Literal["printed_handwritten", "digits_photos"] = "printed_handwritten"
    """Labelled source and unlabelled target."""
    method: tuple[
        Literal[
            "adamatch",
            "self_ensembling",
            "shot",
            "adabn",
            "tent",
            "mcc",
            "dann",
            "cdan",
            "adda",
            "wdgrl",
            "mcd",
            "mdd",
            "deep_coral",
            "dan",
            "jan",
            "deep_jdot",
        ],
        ...,
    ] = ("adamatch",)
    """Methods to train, one or more; the first is exported."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every arm for each; at least two, for an interval."""
    steps: int = 1000
    """Training steps of each run, rounded up to whole epochs."""
    batch_size: int = 64
    """Rows of the source, and as many of the target, in a step."""
    learning_rate: float = 3e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    ramp: float = 0.4
    """Share of the steps in which the weight of the adaptation rises; `shot`, `adda`, `adabn` and `tent` have none."""
    runs: pathlib.Path = pathlib.Path("runs/adapt_digits")
    """Folder in which each run makes a folder with its config, report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/adapt_digits/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/adapt_digits/<pair>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `(x, y)` for source, source_test, target and target_test; the target's labels serve the test alone."""
    data = kt.datasets
    if config.pair == "printed_handwritten":
        source, source_test = data.printed_digits(8000, seed=0), data.printed_digits(2000, seed=1)
        target, target_test = split(data.digits(image_size=28), 1200)
    else:  # as in MNIST-M, the source's training digits are also the target's, without their labels
        x, y = data.digits(image_size=28)
        source, source_test = split((np.repeat(x, 3, axis=-1), y), 1200)
        target, target_test = split(data.digits_on_photos(), 1200)
    return {"source": source, "source_test": source_test, "target": target, "target_test": target_test}


def split(data, rows):
    """Returns so many rows of arrays, drawn at random, and the others."""
    order = np.random.default_rng(0).permutation(len(data[0]))
    return [tuple(part[index] for part in data) for index in (order[:rows], order[rows:])]


def build(channels):
    """Returns new networks: an encoder and a head."""
    # Each image on its own scale: mean 0, variance 1.
    encoder = [keras.Input((28, 28, channels)), layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False)]
    for filters in (32, 48):
        encoder += [layers.Conv2D(filters, 5), layers.MaxPooling2D(), layers.BatchNormalization(), layers.ReLU()]
    encoder += [layers.Flatten(), layers.Dropout(0.5), layers.Dense(100), layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential(encoder, name="encoder"), new_head()


def new_head():
    """Returns a new network from features to logits."""
    return keras.Sequential([keras.Input((100,)), layers.Dense(len(CLASSES))], name="head")


def adversary(inputs=100, normalize=True):
    """Returns a new discriminator, or a critic, whose slope no BatchNormalization may hide."""
    hidden = (
        [layers.Dense(100), layers.BatchNormalization(), layers.ReLU()] if normalize else [layers.Dense(100, "relu")]
    )
    return keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(1)], name="adversary")


METHODS = {
    "dann": lambda parts, ramp: kt.models.DANN(*parts, adversary(), reversal=ramp(peak=0.3)),
    "cdan": lambda parts, ramp: kt.models.CDAN(*parts, adversary(100 * len(CLASSES)), reversal=ramp(peak=0.3)),
    "wdgrl": lambda parts, ramp: kt.models.WDGRL(*parts, adversary(normalize=False), reversal=ramp(peak=0.1)),
    "mcd": lambda parts, ramp: kt.models.MCD(*parts, new_head(), agreement_weight=ramp()),
    "mdd": lambda parts, ramp: kt.models.MDD(*parts, new_head(), reversal=ramp(peak=0.1)),
    "deep_coral": lambda parts, ramp: kt.models.DeepCORAL(*parts, coral_weight=ramp(peak=100.0)),
    "dan": lambda parts, ramp: kt.models.DAN(*parts, mmd_weight=ramp()),
    "jan": lambda parts, ramp: kt.models.JAN(*parts, mmd_weight=ramp()),
    "deep_jdot": lambda parts, ramp: kt.models.DeepJDOT(*parts, transport_weight=ramp()),
    "mcc": lambda parts, ramp: kt.models.TargetTerms(*parts, {"mcc": (kt.losses.MCC(), ramp())}),
    "adamatch": lambda parts, ramp: kt.models.AdaMatch(*parts, ramp()),
    "self_ensembling": lambda parts, ramp: kt.models.SelfEnsembling(*parts, ramp(peak=3.0), threshold=0.5),
}
COPIES = {"adabn": kt.models.adabn, "tent": kt.models.tent}  # of a trained network, without a `fit` of their own
FROM_SOURCE = {"shot": 1e-3, "adda": 2e-4}  # the rate of networks that are trained already
BASELINES = ("source_only_plain", "source_only")  # without augmentation, and with the augmentation of all other arms


def views(arm, channels):
    """Returns the augmentation of an arm, by streams: the same strong views of the source for all, but for two."""
    if arm == "source_only_plain":
        return None
    strong, weak = digit_views.strong(channels > 1), digit_views.weak(channels > 1)
    if arm in ("adamatch", "self_ensembling"):
        return {"source": strong, "target_weak": weak, "target_strong": strong}
    if arm == "dann":  # its discriminator tells little of what strong views have left
        return {"source": weak, "target": weak}
    return {"source": strong, "target": strong}


def train(config, arm, seed, data, trained=None):
    """Trains one arm on one seed and returns the model, its encoder, its history and its metrics.

    `trained` is the network of `source_only`, at which `adabn`, `tent`, `shot` and `adda` begin, without its labels.
    """
    keras.utils.set_random_seed(seed)
    channels = data["source"][0].shape[-1]
    stream = kt.streams.domains(
        data["source"],
        data["target"][0],
        batch_size=config.batch_size,
        classes=len(CLASSES),
        seed=seed,
        augment=views(arm, channels),
    )
    epochs = math.ceil(config.steps / len(stream))
    steps = epochs * len(stream)
    parts, rate = build(channels), config.learning_rate
    if arm in BASELINES:
        model, stream = keras.Sequential(parts), stream.map(lambda x, y: (x["source"], y))
    elif arm in COPIES:
        model, epochs = COPIES[arm](trained, data["target"][0]), 0
    elif arm in FROM_SOURCE:
        source, rate = kt.models.TargetTerms(*trained.layers), FROM_SOURCE[arm]
        model = kt.models.SHOT.from_source(source) if arm == "shot" else kt.models.ADDA.from_source(source, adversary())
        stream = stream.map(lambda x, y: {name: x[name] for name in model.streams})
    else:
        model = METHODS[arm](parts, functools.partial(kt.schedules.DannRamp, config.ramp * steps))
    encoder = model.layers[0] if arm in (*BASELINES, *COPIES) else model.served[0]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    measured = {"loss": loss, "metrics": ["accuracy"]}
    adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    model.compile(adam, **({} if arm in FROM_SOURCE else measured))
    watched = [kt.callbacks.TargetScore(data["target"][0], collapse=0.0), domains.Oracle(*data["target_test"])]
    watched.append(runs.progress(f"{arm}, seed {seed}", epochs))
    start, history = time.perf_counter(), {}
    if epochs:
        history = model.fit(stream, epochs=epochs, shuffle=False, verbose=0, callbacks=watched).history
    seconds = time.perf_counter() - start
    model.compile(adam, **measured)  # those that trained without labels did so without a loss
    metrics = {
        f"{domain}_accuracy": model.evaluate(*data[f"{domain}_test"], verbose=0, return_dict=True)["accuracy"]
        for domain in ("source", "target")
    }
    metrics["target_information"] = kt.metrics.information(model.predict(data["target"][0], 256, verbose=0))
    return model, encoder, history, {**metrics, "seconds": seconds}


def main(config, load=load):
    """Runs baselines and methods over the seeds, on what `load` returns; returns the report's dict."""
    if len(config.seeds) < 2:
        raise ValueError(f"Expected at least 2 seeds for an interval; received {config.seeds}.")
    run, data = runs.Run(config, "adapt_digits", config.pair), load(config)
    trained, encoders, histories, metrics = {}, {}, {}, {}

    def part(arm, seed):
        model, encoder, history, measured = train(config, arm, seed, data, trained.get(("source_only", seed)))
        kept = {"model": model, "encoder": encoder} if seed == config.seeds[0] else {}
        return {"metrics": measured, "history": history}, kept | ({"model": model} if arm == "source_only" else {})

    for arm in (*BASELINES, *config.method):
        for seed in config.seeds:
            found, networks = run.part(f"{arm}, seed {seed}", functools.partial(part, arm, seed), seed)
            metrics.setdefault(arm, {})[seed] = found["metrics"]
            if networks:
                trained[arm, seed] = networks["model"]
                encoders.setdefault(arm, networks.get("encoder"))
            histories.setdefault(arm, []).append(found["history"])

    # The first seed's model, whatever its accuracy: to pick by the target's labels would be to train on them.
    first, (x, _) = config.method[0], data["target_test"]
    score = {arm: np.mean([found["target_information"] for found in runs.values()]) for arm, runs in metrics.items()}
    chosen = domains.choose(score)
    extra = {"histories": histories, "chosen": chosen, "epochs": domains.epochs_chosen(histories)}
    report = kt.report.TransferReport(metrics, list(BASELINES), extra=extra)
    seed, histories = config.seeds[0], {arm: found for arm, found in histories.items() if found[0]}
    compared = {arm: (trained[arm, seed], encoders[arm]) for arm in (report.baseline, first)}
    figures = draw(config.pair, data, compared, histories)
    export = {"x": x, "requests": [x[:64]], "classes": CLASSES, "metrics": metrics[first]}
    return run.finish(report, figures, model=trained[first, seed], **export)


def draw(pair, data, trained, histories):
    """Returns samples, embeddings before and after, learning curves and confusion matrices."""
    names = pair.split("_")
    parts = [data[f"{domain}_test"] for domain in ("source", "target")]
    few = [(x[:500], y[:500]) for x, y in parts]
    features = {arm: [encoder.predict(x, verbose=0) for x, _ in few] for arm, (_, encoder) in trained.items()}
    x, y = parts[1]
    answers = {arm: model.predict(x, verbose=0).argmax(-1) for arm, (model, _) in trained.items()}
    return {
        "samples": pictures.samples({name: images for name, (images, _) in zip(names, parts)}),
        "embedding": pictures.embedding(features, [labels for _, labels in few], names),
        "curves": pictures.curves(histories),
        "confusion": pictures.confusion(y, answers, CLASSES),
    }


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

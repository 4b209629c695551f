"""Adapts a digit classifier to a domain without labels, holds it against source-only training, and exports it.

    python -m recipes.adapt_digits
    python -m recipes.adapt_digits --pair usps_mnist --method dan dann --steps 2000

The default pair, simulated printed digits to real handwritten ones, needs no download and takes about 4 minutes on two
cores; `usps_mnist`, `mnist_usps` and `mnist_mnistm` take up to 10 minutes for each method. They read USPS, MNIST and
BSDS500 from `KERAS_TRANSFER_DATA` or download them. Of MNIST they take the 10,000 digits of its test files: 8,000 to
train on, 2,000 to test on. Measured numbers: `results/adapt_digits/<pair>.json`, shown in the README.

How the settings were chosen: `results/adapt_digits/selection.json`.
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
from recipes import pictures, runs

CLASSES = "0123456789"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    pair: Literal["printed_handwritten", "digits_photos", "usps_mnist", "mnist_usps", "mnist_mnistm"] = (
        "printed_handwritten"
    )
    """Labelled source and unlabelled target."""
    method: tuple[Literal["dann", "deep_coral", "dan"], ...] = ("dan",)
    """One or more methods; the first is exported."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every arm for each; at least two, for an interval."""
    steps: int = 1000
    """Training steps of each run, rounded up to whole epochs."""
    batch_size: int = 64
    """Rows of the source, and as many of the target, in a step."""
    learning_rate: float = 3e-3
    """Of Adam, at the start of a cosine decay to 0."""
    ramp: float = 0.4
    """Share of the steps in which the weight of the adaptation rises."""
    runs: pathlib.Path = pathlib.Path("runs/adapt_digits")
    """Folder in which each run makes a folder with its config, report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/adapt_digits/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/adapt_digits/<pair>.json`."""


def load(config):
    """Returns `(x, y)` for source, source_test, target and target_test; the target's labels serve the test alone."""
    data = kt.datasets
    if config.pair == "printed_handwritten":
        source, source_test = data.printed_digits(8000, seed=0), data.printed_digits(2000, seed=1)
        target, target_test = _split(data.digits(image_size=28), 1200)
    elif config.pair == "usps_mnist":
        source, source_test = data.usps("train", image_size=28), data.usps("test", image_size=28)
        target, target_test = _split(data.mnist("test"), 8000)
    elif config.pair == "mnist_usps":
        source, source_test = _split(data.mnist("test"), 8000)
        target, target_test = data.usps("train", image_size=28), data.usps("test", image_size=28)
    else:  # as in MNIST-M, the source's training digits are also the target's, without their labels
        gray, photos = (
            (data.digits(image_size=28), data.digits_on_photos())
            if config.pair == "digits_photos"
            else (data.mnist("test"), data.mnist_m_like("test"))
        )
        rows = 1200 if config.pair == "digits_photos" else 8000
        source, source_test = _split((np.repeat(gray[0], 3, axis=-1), gray[1]), rows)
        target, target_test = _split(photos, rows)
    return {"source": source, "source_test": source_test, "target": target, "target_test": target_test}


def build(channels, batch_norm):
    """Returns new networks: encoder, head and discriminator."""

    def normalize():
        return [layers.BatchNormalization()] if batch_norm else []

    # Each image on its own scale: mean 0, variance 1.
    encoder = [keras.Input((28, 28, channels)), layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False)]
    for filters in (32, 48):
        encoder += [layers.Conv2D(filters, 5), layers.MaxPooling2D(), *normalize(), layers.ReLU()]
    encoder += [layers.Flatten(), layers.Dropout(0.5), layers.Dense(100), *normalize(), layers.ReLU()]
    head = [keras.Input((100,)), layers.Dense(len(CLASSES))]
    discriminator = [keras.Input((100,)), layers.Dense(100), *normalize(), layers.ReLU(), layers.Dense(1)]
    names = ("encoder", "head", "discriminator")
    return [keras.Sequential(network, name=n) for n, network in zip(names, (encoder, head, discriminator))]


METHODS = {
    "dann": lambda parts, ramp: kt.models.DANN(*parts, reversal=ramp()),
    "deep_coral": lambda parts, ramp: kt.models.DeepCORAL(*parts[:2], coral_weight=ramp(peak=100.0)),
    "dan": lambda parts, ramp: kt.models.DAN(*parts[:2], mmd_weight=ramp()),
}
BASELINES = {"source_only": False, "source_only_batch_norm": True}  # with BatchNormalization or without


def train(config, arm, seed, data):
    """Trains one arm on one seed and returns the model, its history and its metrics."""
    keras.utils.set_random_seed(seed)
    stream = kt.streams.domains(
        data["source"], data["target"][0], batch_size=config.batch_size, classes=len(CLASSES), seed=seed
    )
    epochs = math.ceil(config.steps / len(stream))
    steps = epochs * len(stream)
    parts = build(data["source"][0].shape[-1], batch_norm=BASELINES.get(arm, True))
    if arm in BASELINES:
        model, stream = keras.Sequential(parts[:2]), stream.map(lambda x, y: (x["source"], y))
    else:
        model = METHODS[arm](parts, functools.partial(kt.schedules.DannRamp, config.ramp * steps))
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])

    print(f"{arm}, seed {seed}")
    bar = keras.utils.Progbar(epochs, unit_name="epoch")
    progress = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.update(epoch + 1, logs.items()))
    start = time.perf_counter()
    history = model.fit(stream, epochs=epochs, shuffle=False, verbose=0, callbacks=[progress]).history
    seconds = time.perf_counter() - start
    metrics = {
        f"{domain}_accuracy": model.evaluate(*data[f"{domain}_test"], verbose=0, return_dict=True)["accuracy"]
        for domain in ("source", "target")
    }
    information = _information(model.predict(data["target"][0], batch_size=256, verbose=0))
    return model, history, {**metrics, "target_information": information, "seconds": seconds}


def main(config):
    """Runs baselines and methods over the seeds, reports, draws, exports and verifies; returns the report as a dict."""
    if len(set(config.seeds)) < 2:
        raise ValueError(f"Expected at least 2 seeds for an interval; received {config.seeds}.")
    data = load(config)
    models, histories, metrics = {}, {}, {}
    for arm in (*BASELINES, *config.method):
        for seed in config.seeds:
            model, history, metrics.setdefault(arm, {})[seed] = train(config, arm, seed, data)
            models.setdefault(arm, model)
            histories.setdefault(arm, []).append(history)

    # The first seed's model, whatever its accuracy: to pick by the target's labels would be to train on them.
    method, (x, _) = models[config.method[0]], data["target_test"]
    version = kt.export(
        method, config.saved_models / "adapt_digits", x, classes=CLASSES, metrics=metrics[config.method[0]]
    )
    verified = kt.serving.verify(version, method, x[:64])
    settings = runs.settings(config)
    extra = {"config": settings, "export": verified._asdict(), "histories": histories}
    report = kt.report.TransferReport(metrics, list(BASELINES), extra=extra)
    folder = runs.folder(config, config.pair)
    report.save(folder)
    draw(config, folder, data, {report.baseline: models[report.baseline], config.method[0]: method}, histories)
    if config.results:
        report.write(config.results / "adapt_digits" / f"{config.pair}.json")
    print(f"\n{config.pair}\n{report}\n\nPictures and report: {folder}\nExport: {version}")
    print(f"Largest difference in a fresh process: {max(verified.differences.values()):.1e}")
    return report.to_dict()


def draw(config, folder, data, models, histories):
    """Draws samples, embeddings before and after, learning curves and confusion matrices."""
    names = config.pair.split("_")
    parts = [data[f"{domain}_test"] for domain in ("source", "target")]
    few = [(x[:500], y[:500]) for x, y in parts]
    encoders = {arm: getattr(model, "encoder", None) or model.layers[0] for arm, model in models.items()}
    features = {arm: [encoder.predict(x, verbose=0) for x, _ in few] for arm, encoder in encoders.items()}
    x, y = parts[1]
    answers = {arm: model.predict(x, verbose=0).argmax(-1) for arm, model in models.items()}
    for name, figure in {
        "samples": pictures.samples({name: images for name, (images, _) in zip(names, parts)}),
        "embedding": pictures.embedding(features, [labels for _, labels in few], names),
        "curves": pictures.curves(histories),
        "confusion": pictures.confusion(y, answers, CLASSES),
    }.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


def _split(data, rows):
    order = np.random.default_rng(0).permutation(len(data[0]))
    return [tuple(part[index] for part in data) for index in (order[:rows], order[rows:])]


def _information(logits):
    """Mutual information of input and prediction in nats, at most log 10: a score of adaptation without labels."""
    p = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    return float((p * np.log(p + 1e-9)).sum(-1).mean() - (p.mean(0) * np.log(p.mean(0) + 1e-9)).sum())


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))

"""Learns an encoder from unlabelled images (SimCLR), tests what ten labels of each class are worth on it, exports it.

    python -m keras_transfer.recipes.pretrain_images
    python -m keras_transfer.recipes.pretrain_images --images my_photos

By default nothing is downloaded: rendered Latin capitals, in about 15 minutes on two cores. `--images` is a folder of
your own pictures, `<class>/*.jpg`; one folder of all of them is enough to pretrain and export.

On the pretrained encoder: a logistic regression of the features, and all weights fine-tuned from there (LP-FT). The
baselines: the supervised twin, which is the same encoder trained on those labels alone with the same augmentation and
the same choice of rates, and a logistic regression of pixels. Every choice is made by the labels of 2,000 training
images that no arm trains with, none by the test.

Other methods and Fashion-MNIST: `recipes/studies/pretrain_views.py`, whose measured numbers are in
`results/pretrain_views/`.
"""

import dataclasses
import functools
import pathlib

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import few_labels, pictures, runs

VALIDATION = 2000  # training images whose labels choose
BASELINES = ("twin", "pixels_probe")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    images: pathlib.Path | None = None
    """Folder of own pictures, `<class>/*.jpg` or `.png`, instead of letters; a fifth of them is the test."""
    image_size: int = 64
    """Side in pixels that own pictures are reduced to."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One pretraining, and one draw of the few labels, for each; at least two, for an interval."""
    epochs: int = 10
    """Passes over the unlabelled images."""
    batch_size: int = 256
    """Images in a step, two views of each."""
    learning_rate: float = 2e-3
    """The learning rate of AdamW after a twentieth of the steps, before a cosine decay to 0."""
    weight_decay: float = 1e-4
    """The weight decay of AdamW."""
    labels_per_class: int = 10
    """Labelled images of each class."""
    steps: int = 1000
    """Steps of 64 images on few labels, of fine-tuning and of the twin."""
    runs: pathlib.Path = pathlib.Path("runs/pretrain_images")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/pretrain_images/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/pretrain_images/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns training images with labels, test images with labels, and the names of the classes."""
    if config.images is not None:
        x, y, names = kt.datasets.image_folder(config.images, config.image_size)
        order = np.random.default_rng(0).permutation(len(x))
        test, train = np.split(order, [len(x) // 5])
        return (x[train], y[train]), (x[test], y[test]), names
    names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    wide = kt.datasets.Jitter(rotation=20.0, shear=0.4, scale=0.25, translation=0.1)
    return *(kt.datasets.glyphs(names, n=n, jitter=wide, seed=seed)[:2] for seed, n in enumerate((20_000, 5000))), names


def hold_out(images, labels, test, test_labels):
    """Returns `{part: images}` and `{part: labels}` of training, validation and test."""
    order = np.random.default_rng(0).permutation(len(images))
    held, rest = np.split(order, [min(VALIDATION, len(images) // 5)])
    x = {"train": images[rest], "validation": images[held], "test": test}
    return x, {"train": labels[rest], "validation": labels[held], "test": test_labels}


def augmentation(config, shape):
    """Returns the layers that make a view: crops, mirroring where it keeps sense, and other tones."""
    height, width, channels = shape
    change = [kt.layers.RandomResizedCrop(height, width, scale=(0.3, 1.0))]
    if config.images is not None:
        change.append(layers.RandomFlip("horizontal"))
    else:
        change.append(layers.RandomRotation(0.04, fill_mode="constant", fill_value=0.0))
    return keras.Sequential([*change, tones(channels)])


def tones(channels):
    """Returns the layer that changes the tones of a view."""
    if channels == 3:
        return layers.RandomColorJitter((0, 255), 0.3, 0.4, (0.3, 0.7), 0.1)
    return kt.layers.RandomGamma((1 / 5, 5.0), gain=(0.25, 1.0))


def build_encoder(shape, filters=32):
    """Returns a new encoder: four convolutions of stride 2, the first with so many filters, each next with twice."""
    x = images = keras.Input(shape, name="images")
    x = layers.Rescaling(1 / 255)(x)
    for times in (1, 2, 4, 8):
        x = layers.Conv2D(times * filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    return keras.Model(images, layers.GlobalAveragePooling2D(name="features")(x), name="encoder")


def mlp(inputs, hidden, outputs, *last):
    """Returns a projector or predictor of one hidden layer."""
    dense = [layers.Dense(hidden, use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential([keras.Input((inputs,)), *dense, layers.Dense(outputs), *last])


def compile_model(config, model, steps):
    """Compiles with AdamW, a warm-up and a cosine decay."""
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=config.learning_rate, warmup_steps=steps // 20
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer)
    return model


def pretrain(config, seed, images):
    """Trains SimCLR; returns the model, its encoder and the history."""
    keras.utils.set_random_seed(seed)
    encoder = build_encoder(images.shape[1:])
    model = kt.models.SimCLR(encoder, mlp(encoder.output_shape[-1], 256, 128), temperature=0.5)
    augment = augmentation(config, images.shape[1:])
    stream = kt.streams.views(images, augment, config.batch_size, seed=seed)
    compile_model(config, model, config.epochs * len(stream))
    watched = dict(zip(("view_1", "view_2"), (augment(images[:500]).numpy() for _ in range(2))))
    callbacks = [kt.callbacks.CollapseMonitor(watched), keras.callbacks.TerminateOnNaN(raise_error=True)]
    return (
        model,
        encoder,
        model.fit(stream, epochs=config.epochs, shuffle=False, verbose=2, callbacks=callbacks).history,
    )


def main(config):
    """Pretrains, fine-tunes, draws, exports and verifies; returns the record."""
    run = runs.Run(config, "pretrain_images", config.images.name if config.images else "letters")
    train, test, names = load(config)
    x, y = hold_out(*train, *test)
    few, histories, kept = {}, [], None

    def simclr(seed):
        model, encoder, history = pretrain(config, seed, train[0])
        return history, {"model": model, "encoder": encoder}

    def compare(seed, encoder):
        return few_labels.compare(config, seed, encoder, build_encoder, augmentation, x, y), {}

    for seed in config.seeds:
        history, networks = run.part(f"simclr, seed {seed}", functools.partial(simclr, seed), seed)
        histories.append(history)
        kept = kept or networks["model"]
        if len(names) > 1:
            count = functools.partial(compare, seed, networks["encoder"])
            for arm, found in run.part(f"few labels, seed {seed}", count, seed)[0].items():
                few.setdefault(arm, {})[seed] = found
                print(f"seed {seed}, {arm}: {found['test']:.3f}", flush=True)
    record, text, figures = {"few_labels": few, "histories": histories}, "", draw_pictures(config, kept, *test, names)
    if few and len(config.seeds) > 1:
        tests = {arm: {seed: {"accuracy": one["test"]} for seed, one in found.items()} for arm, found in few.items()}
        report = kt.report.TransferReport(tests, BASELINES, "accuracy")
        record, text, figures = record | {"report": report.to_dict()}, str(report), figures | {"report": report.draw()}
    figures["curves"] = pictures.curves({"simclr": histories})
    return run.finish(record, figures, text, model=kept, x=test[0])


def draw_pictures(config, model, images, labels, names):
    """Returns views, nearest neighbours and an embedding of test images."""
    chosen = np.random.default_rng(0).permutation(len(images))[:1000]
    features = model.predict(images[chosen], verbose=0)
    shown, augment = images[chosen[:48]], augmentation(config, images.shape[1:])
    views = {f"view {n}": np.clip(augment(shown).numpy(), 0, 255).astype("uint8") for n in (1, 2)}
    return {
        "views": pictures.samples({"images": shown, **views}),
        "neighbours": pictures.neighbours(images[chosen], features),
        "embedding": pictures.classes(features, labels[chosen], names),
    }


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

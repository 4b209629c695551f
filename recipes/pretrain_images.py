"""Learns an encoder from unlabelled images, tests what ten labels of each class are worth on it, exports it.

    python -m keras_transfer.recipes.pretrain_images
    keras-transfer pretrain --images my_photos

By default nothing is downloaded: SimCLR on rendered Latin capitals, in about 15 minutes on two cores. `--images` is a
folder of your own pictures: `<class>/*.jpg`, and in `unlabelled/` beside these what nobody labelled; or `unlabelled/`
alone, to pretrain and export. All pictures that do not test are learned from, without their labels; more than memory
holds are read from disk as they are needed.

On the pretrained encoder: a logistic regression of the features, of the images and of views of them, and all weights
fine-tuned from there (LP-FT). The baselines: the supervised twin, which is the same network trained on those labels
alone with the same augmentation and the same rates to choose from; and logistic regressions of the features before the
pretraining, and of pixels. Penalties are chosen by cross-validation on these labels, rates by a part of them; no other
label chooses anything.

Fashion-MNIST, and methods that predict what is hidden: `keras_transfer.recipes.studies.pretrain_views`, whose measured
numbers are in `results/pretrain_views/`. What colours in the views are worth:
`keras_transfer.recipes.studies.pretrain_colours`.
"""

import dataclasses
import functools
import math
import pathlib
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import few_labels, own_pictures, pictures, runs

BASELINES = ("twin", "before_probe", "before_views_probe", "pixels_probe", "pixels_views_probe")
STEPS = 800  # of pretraining, where no number of epochs is asked for
MEMORY = 1_000_000_000  # bytes of pictures that are read once and kept


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: own_pictures.Options = own_pictures.Options(image_size=64)
    """Your own pictures instead of letters."""
    method: Literal["simclr", "byol", "simsiam", "barlow_twins", "vicreg"] = "simclr"
    """The method to pretrain with."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One pretraining, and one draw of the few labels, for each; at least two, for an interval."""
    epochs: int | None = None
    """Passes over the unlabelled images; by default as many as take 800 steps."""
    batch_size: int = 256
    """Images in a step, two views of each; all of them, where there are fewer."""
    learning_rate: float = 2e-3
    """The learning rate of AdamW after a twentieth of the steps, before a cosine decay to 0; it suits a new network,
    and a backbone that has learned before takes less."""
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


class Images(NamedTuple):
    """Images in memory, or `kt.datasets.ImageFiles`, which are read as they are needed.

    Args:
        unlabelled: all to learn from, those of `train` among them.
        train: images of which some are labelled; None without classes.
        labels: integer array `(n,)`, or None.
        groups: array `(n,)` of what belongs together, or None.
        test: images that test, or None.
        test_labels: integer array, or None.
        names: tuple of the classes' names.
    """

    unlabelled: Any
    train: Any
    labels: Any
    groups: Any
    test: Any
    test_labels: Any
    names: tuple


def load(config):
    """Returns the `Images`: your own, or letters."""
    options = config.data
    if options.images is None:
        names = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        wide = kt.datasets.Jitter(rotation=20.0, shear=0.4, scale=0.25, translation=0.1)
        train, test = (kt.datasets.glyphs(names, n=n, jitter=wide, seed=seed) for seed, n in enumerate((20_000, 5000)))
        return Images(train[0], train[0], train[1], None, test[0], test[1], names)
    alone = only_unlabelled(options)
    if alone is not None:
        return Images(in_memory(alone), None, None, None, None, None, ())
    train, test, more, names = own_pictures.load(options)
    paths = train.paths if more is None else train.paths + more.paths
    unlabelled = kt.datasets.ImageFiles(paths, image_size=options.image_size)
    return Images(in_memory(unlabelled), train, train.labels, train.groups, in_memory(test), test.labels, names)


def only_unlabelled(options):
    """Returns the pictures of a folder that has `unlabelled/` and no classes, or None for any other."""
    folder = pathlib.Path(options.images)
    inside = [one.name for one in sorted(folder.glob("*/")) if not one.name.startswith(".")] if folder.is_dir() else []
    if len(inside) != 1 or inside[0] not in own_pictures.UNLABELLED:
        return None
    files = kt.datasets.image_files(folder / inside[0], options.image_size, labelled=False)
    files = own_pictures.readable(files, options.skip_unreadable)[0]
    print(f"{len(files)} unlabelled pictures and no classes: an encoder is learned, and nothing tested", flush=True)
    return files


def in_memory(files):
    """Returns pictures as an array, or those on disk as they are where there are too many."""
    return files[:] if math.prod(files.shape) <= MEMORY else files


def augmentation(config, shape):
    """Returns the layers that make a view: crops and other tones; your own pictures are mirrored, letters turned."""
    height, width, channels = shape
    if config.data.images is not None:
        return kt.layers.contrastive_views((height, width), channels)
    change = kt.layers.contrastive_views((height, width), channels, scale=(0.3, 1.0), flip=False)
    return keras.Sequential([change, layers.RandomRotation(0.04, fill_mode="constant", fill_value=0.0)])


def new_encoder(config, shape):
    """Returns a new encoder of letters, or the backbone that was asked for, before the pretraining."""
    if config.data.images is None:
        return build_encoder(shape)
    encoder = own_pictures.backbone(config.data)
    if not encoder.trainable_variables:
        raise ValueError(f"Expected a --backbone that can be trained; received {config.data.backbone}, which cannot.")
    return encoder


def build_encoder(shape, filters=32, momentum=0.99):
    """Returns a new encoder: four convolutions of stride 2, the first with so many filters, each next with twice.

    Args:
        shape: shape of an image.
        filters: int.
        momentum: float, of BatchNormalization; .9 where a few hundred steps have to do.
    """
    x = images = keras.Input(shape, name="images")
    x = layers.Rescaling(1 / 255)(x)
    for times in (1, 2, 4, 8):
        x = layers.Conv2D(times * filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=momentum)(x)
        x = layers.ReLU()(x)
    return keras.Model(images, layers.GlobalAveragePooling2D(name="features")(x), name="encoder")


def mlp(inputs, hidden, outputs, *last):
    """Returns a projector or predictor of one hidden layer."""
    dense = [layers.Dense(hidden, use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential([keras.Input((inputs,)), *dense, layers.Dense(outputs), *last])


def build(config, encoder, steps):
    """Returns the compiled model of the method, around an encoder."""
    dim = encoder.output_shape[-1]
    if config.method == "simclr":
        model = kt.models.SimCLR(encoder, mlp(dim, 256, 128), temperature=0.5)
    elif config.method == "byol":
        momentum = kt.schedules.CosineRamp(steps, start=0.99)
        model = kt.models.BYOL(encoder, mlp(dim, 512, 128), mlp(128, 512, 128), momentum)
    elif config.method == "simsiam":
        projector = mlp(dim, 256, 256, layers.BatchNormalization(center=False, scale=False))
        model = kt.models.SimSiam(encoder, projector, mlp(256, 64, 256))
    elif config.method == "barlow_twins":
        model = kt.models.BarlowTwins(encoder, mlp(dim, 512, 512))
    else:
        model = kt.models.VICReg(encoder, mlp(dim, 512, 512))
    return compile_model(config, model, steps)


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
    """Trains the method; returns the model, its encoder and the history."""
    keras.utils.set_random_seed(seed)
    shape = images.shape[1:]
    encoder, augment, batch_size = new_encoder(config, shape), augmentation(config, shape), config.batch_size
    stream = kt.streams.views(images, augment, min(batch_size, len(images)), seed=seed)
    epochs = config.epochs or math.ceil(STEPS / len(stream))
    model = build(config, encoder, epochs * len(stream))
    some = images[:500]
    watched = dict(zip(("view_1", "view_2"), (augment(some).numpy() for _ in range(2))))
    callbacks = [kt.callbacks.CollapseMonitor(watched), keras.callbacks.TerminateOnNaN(raise_error=True)]
    callbacks.append(runs.progress(f"{config.method} on {len(images)} images, seed {seed}", epochs))
    history = model.fit(stream, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks).history
    return model, encoder, history


def compare(run, config, seed, encoder, data):
    """Returns what few labels are worth, `{arm: found}`; each way to use them is a part of the run."""
    few = few_labels.draw(data.labels, config.labels_per_class, seed)
    labelled = data.train[few], data.labels[few], None if data.groups is None else data.groups[few]
    new, found = functools.partial(new_encoder, config, data.unlabelled.shape[1:]), {}
    keras.utils.set_random_seed(seed)  # the encoder as the pretraining found it
    others = {"before": few_labels.features_of(new()), "pixels": few_labels.pixels}
    test, classes = (data.test, data.test_labels), len(data.names)
    ways = few_labels.arms(config, seed, encoder, new, others, augmentation, labelled, test, classes)
    for name, measure in ways.items():
        found |= run.part(f"{name}, seed {seed}", lambda measure=measure: (measure(), {}), seed)[0]
    print(f"seed {seed}:", ", ".join(f"{arm} {one['test']:.3f}" for arm, one in found.items()), flush=True)
    return found


def main(config):
    """Pretrains, fine-tunes, draws, exports and verifies; returns the record."""
    images = config.data.images
    case = "letters" if images is None else images.stem if images.suffix == ".csv" else images.name
    run, data = runs.Run(config, "pretrain_images", case), load(config)
    few, histories, kept = {}, [], None

    def pretrained(seed):
        model, encoder, history = pretrain(config, seed, data.unlabelled)
        return history, {"model": model, "encoder": encoder}

    for seed in config.seeds:
        history, networks = run.part(f"{config.method}, seed {seed}", functools.partial(pretrained, seed), seed)
        histories.append(history)
        kept = kept or networks["model"]
        if data.train is not None:
            for arm, found in compare(run, config, seed, networks["encoder"], data).items():
                few.setdefault(arm, {})[seed] = found
    record, text, figures = {"few_labels": few, "histories": histories}, "", draw_pictures(config, kept, data)
    if few and len(config.seeds) > 1:
        tests = {arm: {seed: {"accuracy": one["test"]} for seed, one in found.items()} for arm, found in few.items()}
        report = kt.report.TransferReport(tests, BASELINES, "accuracy")
        record, text, figures = record | {"report": report.to_dict()}, str(report), figures | {"report": report.draw()}
    figures["curves"] = pictures.curves({config.method: histories})
    return run.finish(record, figures, text, model=kept, x=data.unlabelled[:64])


def draw_pictures(config, model, data):
    """Returns views, nearest neighbours and an embedding of test images; without classes, of some that it saw."""
    images = data.unlabelled if data.test is None else data.test
    places = np.random.default_rng(0).permutation(len(images))[:1000]
    chosen = images[places]
    features = model.predict(chosen, verbose=0)
    shown, augment = chosen[:48], augmentation(config, images.shape[1:])
    views = {f"view {n}": np.clip(augment(shown).numpy(), 0, 255).astype("uint8") for n in (1, 2)}
    figures = {
        "views": pictures.samples({"images": shown, **views}),
        "neighbours": pictures.neighbours(chosen, features),
    }
    if data.test is not None:
        figures["embedding"] = pictures.classes(features, data.test_labels[places], data.names)
    return figures


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

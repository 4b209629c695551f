"""Compares ways to learn an encoder from unlabelled images, and what few labels are worth on it.

    python -m keras_transfer.recipes.studies.pretrain_views
    python -m keras_transfer.recipes.studies.pretrain_views --data fashion_mnist --epochs 40 \\
        --labels-per-class 10 60 --steps 2000

By default nothing is downloaded: SimCLR on the letters of `recipes/pretrain_images.py`, in about 15 minutes on two
cores. Fashion-MNIST comes from `keras.datasets`, which downloads it once (30 MB); an epoch of it takes about 30
seconds. Your own pictures: `keras-transfer pretrain`.

The probes: a logistic regression and the nearest neighbours on frozen features, with all labels. Then few labels: a
logistic regression of the features, of the images and of views of them, and all weights fine-tuned from it (LP-FT).
Beside them the supervised twin, which is the same encoder trained on those labels alone with the same augmentation, and
the regressions of an untrained encoder's features and of pixels. Penalties are chosen by cross-validation on the few
labels, rates by a part of them; no other label chooses anything. By the labels of 2,000 training images that no arm
trains with the pretraining is watched, which changes nothing.
Measured numbers: `results/pretrain_views/<case>.json`, shown in `docs/self_supervised.md`.
"""

import dataclasses
import functools
import math
import pathlib
import time
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import few_labels, pictures, pretrain_images, runs
from keras_transfer.recipes.pretrain_images import compile_model, mlp

MASKED = ("mae", "inpainting")  # methods that predict what is hidden of an image
VALIDATION = 2000  # training images that watch
PRETRAINED = ("probe", "views_probe", "lp_ft")
BASELINES = ("twin", "random_probe", "random_views_probe", "pixels_probe", "pixels_views_probe")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "fashion_mnist"] = "glyphs"
    """Images to learn from."""
    method: Literal["simclr", "sup_con", "byol", "simsiam", "barlow_twins", "vicreg", "mae", "inpainting"] = "simclr"
    """The method to pretrain with; "sup_con" needs all labels."""
    baselines: bool = True
    """Whether to train and test the supervised twin, the untrained encoder and pixels too."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One pretraining, and one draw of the few labels, for each; at least two for an interval."""
    epochs: int = 10
    """Passes over the unlabelled images."""
    batch_size: int = 256
    """Images in a step, two views of each."""
    learning_rate: float = 2e-3
    """The learning rate of AdamW in pretraining after a twentieth of the steps, before a cosine decay to 0."""
    weight_decay: float = 1e-4
    """The weight decay of AdamW."""
    labels_per_class: tuple[int, ...] = (10,)
    """Labelled images of each class."""
    steps: int = 1000
    """Steps of 64 images on few labels, of fine-tuning and of the twin."""
    runs: pathlib.Path = pathlib.Path("runs/pretrain_views")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/pretrain_views/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/pretrain_views/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns training images with labels, test images with labels, and the names of the classes."""
    if config.data == "fashion_mnist":
        names = ("top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
        return *((x[..., None], y.astype("int32")) for x, y in keras.datasets.fashion_mnist.load_data()), names
    letters = pretrain_images.load(pretrain_images.Config())
    return (letters.train, letters.labels), (letters.test, letters.test_labels), letters.names


def hold_out(images, labels, test, test_labels):
    """Returns `{part: images}` and `{part: labels}` of training, validation and test."""
    order = np.random.default_rng(0).permutation(len(images))
    held, rest = np.split(order, [min(VALIDATION, len(images) // 5)])
    x = {"train": images[rest], "validation": images[held], "test": test}
    return x, {"train": labels[rest], "validation": labels[held], "test": test_labels}


def augmentation(config, shape):
    """Returns the layers that make a view: crops, mirroring where it keeps sense, and other tones.

    For methods that predict pixels, crops are large and tones stay.
    """
    height, width, channels = shape
    least, strength = (0.8, 0.0) if config.method in MASKED else (0.3, 0.5)
    letters = config.data == "glyphs"
    change = kt.layers.contrastive_views((height, width), channels, (least, 1.0), not letters, strength)
    if not letters:
        return change
    return keras.Sequential([change, layers.RandomRotation(0.04, fill_mode="constant", fill_value=0.0)])


def build_encoder(config, shape):
    """Returns a new encoder: four convolutions of stride 2; for MAE a small Vision Transformer."""
    if config.method == "mae":
        return kt.backbones.small_vit(shape, patch_size(shape), dim=96, blocks=4)
    return pretrain_images.build_encoder(shape)


def patch_size(shape):
    """Returns the pixels of a side of the Vision Transformer's patches."""
    return 7 if shape[0] % 8 else 8


def build(config, shape, steps):
    """Returns a new compiled model of the method, and its encoder."""
    encoder = build_encoder(config, shape)
    dim = encoder.output_shape[-1]
    if config.method == "sup_con":
        model = kt.models.SupCon(encoder, mlp(dim, 256, 128), temperature=0.5)
    elif config.method == "mae":
        model = kt.models.MAE(encoder, kt.backbones.small_vit_decoder(encoder, blocks=2), normalize=False)
    elif config.method == "inpainting":
        model = kt.models.Inpainting(encoder, picture_decoder(dim, shape))
    else:
        return pretrain_images.build(config, encoder, steps), encoder
    return compile_model(config, model, steps), encoder


def picture_decoder(dim, shape):
    """Returns a network from features to images."""
    height, width, channels = (math.ceil(shape[0] / 4), math.ceil(shape[1] / 4), shape[2])
    x = features = keras.Input((dim,))
    x = layers.Reshape((height, width, 32))(layers.Dense(height * width * 32, activation="relu")(x))
    for filters in (32, 16):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(channels, 3, padding="same")(x)
    return keras.Model(features, x[:, : shape[0], : shape[1]], name="decoder")


def pretrain(config, seed, images, labels, probe, make=build):
    """Trains one model; returns it, its encoder, the history and the seconds.

    `probe` is for probes between epochs; `make` builds other networks than those of the study.
    """
    keras.utils.set_random_seed(seed)
    steps = config.epochs * (len(images) // config.batch_size)
    (model, encoder), augment = make(config, images.shape[1:], steps), augmentation(config, images.shape[1:])
    if config.method in MASKED:
        rows = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images), seed=seed)
        rows = rows.batch(config.batch_size, drop_remainder=True)
        stream = kt.streams.prefetched(rows.map(lambda x: {"image": augment(x)}))
        watched = images[:500]
    else:
        labels = labels if config.method == "sup_con" else None
        stream = kt.streams.views(images, augment, config.batch_size, labels, seed)
        watched = dict(zip(("view_1", "view_2"), (augment(images[:500]).numpy() for _ in range(2))))
    callbacks = [kt.callbacks.CollapseMonitor(watched), keras.callbacks.TerminateOnNaN(raise_error=True)]
    if probe is not None:
        callbacks.append(kt.callbacks.KNNProbe(*probe))
    start = time.perf_counter()
    history = model.fit(stream, epochs=config.epochs, shuffle=False, verbose=2, callbacks=callbacks).history
    return model, encoder, history, time.perf_counter() - start


def probes(features, labels):
    """Returns the accuracies of the probes with all labels; arguments are dicts of `train` and `test`."""
    parts = (features["train"], labels["train"], features["test"], labels["test"])
    knn = kt.metrics.knn_accuracy(*parts)
    return {"linear_accuracy": kt.metrics.linear_accuracy(*parts, steps=100), "knn_accuracy": knn}


def patch_errors(model, images):
    """Returns the mean squared error of MAE on hidden patches, and that of each patch's own mean; pixels are 0-1."""
    sums, cut = np.zeros(2), kt.layers.Patches(patch_size(images.shape[1:]))
    for rows in np.array_split(images, math.ceil(len(images) / 500)):
        outputs, pixels = model({"image": rows}), np.array(cut(rows.astype("float32")) / 255)
        guesses = np.array(outputs["predicted"]), pixels.mean(-1, keepdims=True)
        sums += [np.square(pixels - guess)[np.array(outputs["hidden"])].mean() * len(rows) for guess in guesses]
    return dict(zip(("error", "patch_mean"), (sums / len(images)).tolist()))


def compare(few):
    """Returns the report of one number of labels; `few` is `{arm: {seed: accuracies}}`.

    The pretrained arm that the few labels like best, held out, on the mean of the seeds, is `chosen`; none is where
    there are too few to hold some out.
    """
    arms = {arm: {seed: {"accuracy": run["test"]} for seed, run in found.items()} for arm, found in few.items()}
    liked = {arm: [run["validation"] for run in few[arm].values()] for arm in PRETRAINED}
    extra = {}
    if all(score is not None for scores in liked.values() for score in scores):
        means = {arm: float(np.mean(scores)) for arm, scores in liked.items()}
        extra = {"chosen": max(means, key=means.get), "validation": means}
        arms["chosen"] = arms[extra["chosen"]]
    baselines = [arm for arm in BASELINES if arm in arms]
    return kt.report.TransferReport(arms, baselines, "accuracy", extra) if baselines else None


def main(config):
    """Pretrains, probes, fine-tunes, draws, exports and verifies; returns the record."""
    run = runs.Run(config, "pretrain_views", f"{config.data}_{config.method}")
    (images, labels), (test, test_labels), names = load(config)
    x, y = hold_out(images, labels, test, test_labels)
    between = x["train"][:5000], y["train"][:5000], x["validation"], y["validation"]
    full, few, histories, seconds, patches, kept = {}, {n: {} for n in config.labels_per_class}, [], {}, {}, None

    def pretrained(seed):
        model, encoder, history, took = pretrain(config, seed, images, labels, between)
        found = {"history": history, "seconds": took}
        found |= {"patches": patch_errors(model, test)} if config.method == "mae" else {}
        return found, {"model": model, "encoder": encoder}

    def all_labels(reads):
        by = {
            arm: {part: few_labels.by_batches(read, x[part]) for part in ("train", "test")}
            for arm, read in reads.items()
        }
        return {arm: probes(features, y) for arm, features in by.items()}, {}

    same = {}  # what does not depend on the seed
    if config.baselines:
        same, _ = run.part("all labels, pixels", functools.partial(all_labels, {"pixels": few_labels.pixels}))

    for seed in config.seeds:
        found, networks = run.part(f"{config.method}, seed {seed}", functools.partial(pretrained, seed), seed)
        encoder = networks["encoder"]
        histories.append(found["history"])
        seconds[seed] = found["seconds"]
        patches |= {seed: found["patches"]} if "patches" in found else {}
        kept = kept or networks["model"]
        new = functools.partial(build_encoder, config, images.shape[1:])
        keras.utils.set_random_seed(seed)
        others = {"random": few_labels.features_of(new())} if config.baselines else {}
        measure = functools.partial(all_labels, {config.method: few_labels.features_of(encoder), **others})
        found, _ = run.part(f"all labels, seed {seed}", measure, seed)
        others |= {"pixels": few_labels.pixels} if config.baselines else {}
        for arm, one in {**found, **same}.items():
            full.setdefault(arm, {})[seed] = one
        print(f"seed {seed}, all labels: {found}", flush=True)
        for per_class in config.labels_per_class:
            places = few_labels.draw(y["train"], per_class, seed)
            labelled, tested = (x["train"][places], y["train"][places], None), (test, test_labels)
            ways = few_labels.arms(config, seed, encoder, new, others, augmentation, labelled, tested, len(names))
            for name, way in ways.items():
                if name == "twin" and not config.baselines:
                    continue
                title = f"{per_class} labels of each class, {name}, seed {seed}"
                for arm, one in run.part(title, lambda way=way: (way(), {}), seed)[0].items():
                    few[per_class].setdefault(arm, {})[seed] = one
                    print(f"{title}: {arm} {one['test']:.3f}", flush=True)

    reports = {n: report for n, arms in few.items() if len(config.seeds) > 1 and arms and (report := compare(arms))}
    record = {"seconds": seconds, "all_labels": full, "few_labels": few}
    record |= {"hidden_patches": patches} if patches else {}
    record |= {"parameters": encoder.count_params(), "histories": histories}
    record["reports"] = {n: report.to_dict() for n, report in reports.items()}
    figures = draw_pictures(config, kept, histories, test, test_labels, names)
    texts = [f"{n} labels of each class; chosen: {r.extra.get('chosen')}\n{r}" for n, r in reports.items()]
    return run.finish(record, figures, "\n\n".join(texts), model=kept, x=test)


def draw_pictures(config, model, histories, images, labels, names):
    """Returns the figures of a run by name."""
    chosen = np.random.default_rng(0).permutation(len(images))[:1000]
    features = model.predict(images[chosen], verbose=0)
    augment = augmentation(config, images.shape[1:])
    views = {f"view {n}": np.clip(augment(images[chosen[:48]]).numpy(), 0, 255).astype("uint8") for n in (1, 2)}
    figures = {
        "views": pictures.samples({"images": images[chosen[:48]], **views}),
        "neighbours": pictures.neighbours(images[chosen], features),
        "embedding": pictures.classes(features, labels[chosen], names),
        "curves": pictures.curves({config.method: histories}),
    }
    if config.method in MASKED:
        shown = images[chosen[:12]]
        outputs = model({"image": shown})
        predicted, hidden = np.array(outputs["predicted"]), np.array(outputs.get("hole", outputs.get("hidden")))
        if config.method == "mae":
            (height, width), cut = images.shape[1:3], kt.layers.Patches(patch_size(images.shape[1:]))
            predicted = cut.join(predicted, height, width)
            hidden = np.repeat(hidden[..., None].astype("float32"), outputs["predicted"].shape[-1], -1)
            hidden = np.array(cut.join(hidden, height, width))[..., :1]
        figures["reconstructions"] = pictures.reconstructions(shown, hidden, np.array(predicted))
    return figures


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

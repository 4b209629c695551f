"""Compares ways to learn an encoder from unlabelled images, and what few labels are worth on it.

    python -m keras_transfer.recipes.studies.pretrain_views
    python -m keras_transfer.recipes.studies.pretrain_views --data fashion_mnist --epochs 40 \\
        --labels-per-class 10 60 --steps 2000
    python -m keras_transfer.recipes.studies.pretrain_views --images my_photos --method byol

By default nothing is downloaded: SimCLR on the letters of `recipes/pretrain_images.py`, in about 15 minutes on two
cores. Fashion-MNIST comes from `keras.datasets`, which downloads it once (30 MB); an epoch of it takes about 30
seconds. `--images` is a folder of your own pictures, `<class>/*.jpg`; one folder of all of them is enough to pretrain.

The probes: a logistic regression and the nearest neighbours on frozen features, with all labels. Then few labels: a
probe, all weights fine-tuned from the probe (LP-FT), or fine-tuned with a new head. Beside them the supervised twin,
which is the same encoder trained on those labels alone with the same augmentation, and probes of an untrained encoder
and of pixels. Every choice is made by the labels of 2,000 training images that no arm trains with, none by the test.
Measured numbers: `results/pretrain_views/<case>.json`, shown in the README.
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
from keras_transfer.recipes import pictures, pretrain_images, runs
from keras_transfer.recipes.few_labels import best_of, draw, fit_few, probe_few
from keras_transfer.recipes.pretrain_images import compile_model, mlp

MASKED = ("mae", "inpainting")  # methods that predict what is hidden of an image
PRETRAINED, BASELINES = ("probe", "lp_ft", "fine_tuned"), ("twin", "random_probe", "pixels_probe")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "fashion_mnist"] = "glyphs"
    """Images to learn from."""
    images: pathlib.Path | None = None
    """Folder of own pictures, `<class>/*.jpg` or `.png`, instead; a fifth of them is the test."""
    image_size: int = 64
    """Side in pixels that own pictures are reduced to."""
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
    if config.images is None and config.data == "fashion_mnist":
        names = ("top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
        return *((x[..., None], y.astype("int32")) for x, y in keras.datasets.fashion_mnist.load_data()), names
    return pretrain_images.load(config)


def augmentation(config, shape):
    """Returns the layers that make a view: crops, mirroring where it keeps sense, and other tones.

    For methods that predict pixels, crops are large and tones stay.
    """
    height, width, channels = shape
    masked = config.method in MASKED
    change = [kt.layers.RandomResizedCrop(height, width, scale=(0.8 if masked else 0.3, 1.0))]
    if config.images or config.data == "fashion_mnist":
        change.append(layers.RandomFlip("horizontal"))
    else:
        change.append(layers.RandomRotation(0.04, fill_mode="constant", fill_value=0.0))
    if masked:
        return keras.Sequential(change)
    return keras.Sequential([*change, pretrain_images.tones(channels)])


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
    if config.method in ("simclr", "sup_con"):
        method = kt.models.SimCLR if config.method == "simclr" else kt.models.SupCon
        model = method(encoder, mlp(dim, 256, 128), temperature=0.5)
    elif config.method == "byol":
        momentum = kt.schedules.CosineRamp(steps, start=0.99)
        model = kt.models.BYOL(encoder, mlp(dim, 512, 128), mlp(128, 512, 128), momentum)
    elif config.method == "simsiam":
        projector = mlp(dim, 256, 256, layers.BatchNormalization(center=False, scale=False))
        model = kt.models.SimSiam(encoder, projector, mlp(256, 64, 256))
    elif config.method == "barlow_twins":
        model = kt.models.BarlowTwins(encoder, mlp(dim, 512, 512))
    elif config.method == "vicreg":
        model = kt.models.VICReg(encoder, mlp(dim, 512, 512))
    elif config.method == "mae":
        model = kt.models.MAE(encoder, kt.backbones.small_vit_decoder(encoder, blocks=2), normalize=False)
    else:
        model = kt.models.Inpainting(encoder, picture_decoder(dim, shape))
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


def few_labels(config, seed, encoder, features, x, y, others, part):
    """Returns `{arm: {"validation", "test", ...}}` for each number of labels.

    `others` are features of baselines; `part` is that of the run, which keeps what each training found.
    """
    measured, classes = {}, len(np.unique(y["train"]))

    def new_head():
        return layers.Dense(classes)

    for per_class in config.labels_per_class:
        few = draw(y["train"], per_class, seed)
        labelled = x["train"][few], y["train"][few]

        def tuned(start, make_head, few=labelled):
            def train(rate):
                copy = keras.models.clone_model(start)
                copy.set_weights(start.get_weights())
                return fit_few(config, copy, make_head(), *few, rate, seed, augmentation)

            return best_of(train, x, y)

        probe, found = probe_few(features, y, few)
        trained = {
            "lp_ft": lambda probe=probe, tuned=tuned: tuned(encoder, lambda: kt.metrics.probe_head(probe)),
            "fine_tuned": lambda tuned=tuned: tuned(encoder, new_head),
        }
        if config.baselines:
            trained["twin"] = lambda tuned=tuned: tuned(build_encoder(config, x["train"].shape[1:]), new_head)
        arms = {"probe": found}
        for arm, run in trained.items():
            name = f"{per_class} labels of each class, {arm}, seed {seed}"
            arms[arm] = part(name, lambda run=run: (run(), {}), seed)[0]
        if config.baselines:
            for name, baseline in others.items():
                arms[f"{name}_probe"] = probe_few(baseline, y, few)[1]
        measured[per_class] = arms
        shown = ", ".join(f"{arm} {run['test']:.3f}" for arm, run in arms.items())
        print(f"seed {seed}, {per_class} labels of each class: {shown}", flush=True)
    return measured


def compare(few):
    """Returns the report of one number of labels; `few` is `{arm: {seed: accuracies}}`.

    The pretrained arm that the validation part likes best, on the mean of the seeds, is `chosen`.
    """
    means = {arm: np.mean([run["validation"] for run in few[arm].values()]) for arm in PRETRAINED}
    arms = {arm: {seed: {"accuracy": run["test"]} for seed, run in found.items()} for arm, found in few.items()}
    chosen = max(means, key=means.get)
    arms["chosen"] = arms[chosen]
    baselines = [arm for arm in BASELINES if arm in arms]
    extra = {"chosen": chosen, "validation": means}
    return kt.report.TransferReport(arms, baselines, "accuracy", extra) if baselines else None


def main(config):
    """Pretrains, probes, fine-tunes, draws, exports and verifies; returns the record."""
    run = runs.Run(config, "pretrain_views", f"{config.images.name if config.images else config.data}_{config.method}")
    (images, labels), (test, test_labels), names = load(config)
    probed = len(names) > 1
    x, y = pretrain_images.hold_out(images, labels, test, test_labels)
    between = (x["train"][:5000], y["train"][:5000], x["validation"], y["validation"]) if probed else None
    full, few, histories, seconds, patches, kept = {}, {n: {} for n in config.labels_per_class}, [], {}, {}, None

    def pretrained(seed):
        model, encoder, history, took = pretrain(config, seed, images, labels, between)
        found = {"history": history, "seconds": took}
        found |= {"patches": patch_errors(model, test)} if config.method == "mae" else {}
        return found, {"model": model, "encoder": encoder}

    def all_labels(features):
        return {arm: probes(one, y) for arm, one in features.items()}, {}

    for seed in config.seeds:
        found, networks = run.part(f"{config.method}, seed {seed}", functools.partial(pretrained, seed), seed)
        model, encoder = networks["model"], networks["encoder"]
        histories.append(found["history"])
        seconds[seed] = found["seconds"]
        patches |= {seed: found["patches"]} if "patches" in found else {}
        kept = kept or model
        if not probed:
            continue
        features, others = {part: model.predict(rows, batch_size=500, verbose=0) for part, rows in x.items()}, {}
        if config.baselines:
            keras.utils.set_random_seed(seed)
            random = build_encoder(config, images.shape[1:])
            others["random"] = {part: random.predict(rows, batch_size=500, verbose=0) for part, rows in x.items()}
            others["pixels"] = {part: rows.reshape(len(rows), -1) / np.float32(255) for part, rows in x.items()}
        measure = functools.partial(all_labels, {config.method: features, **others})
        found, _ = run.part(f"all labels, seed {seed}", measure, seed)
        for arm, one in found.items():
            full.setdefault(arm, {})[seed] = one
        print(f"seed {seed}, all labels: {found}", flush=True)
        for per_class, arms in few_labels(config, seed, encoder, features, x, y, others, run.part).items():
            for arm, one in arms.items():
                few[per_class].setdefault(arm, {})[seed] = one

    reports = {n: report for n, arms in few.items() if len(config.seeds) > 1 and arms and (report := compare(arms))}
    record = {"seconds": seconds, "all_labels": full, "few_labels": few}
    record |= {"hidden_patches": patches} if patches else {}
    record |= {"parameters": encoder.count_params(), "histories": histories}
    record["reports"] = {n: report.to_dict() for n, report in reports.items()}
    figures = draw_pictures(config, kept, histories, test, test_labels, names)
    texts = [f"{n} labels of each class; chosen: {report.extra['chosen']}\n{report}" for n, report in reports.items()]
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

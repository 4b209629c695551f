"""Fine-tunes a pretrained backbone on a few labels of a new image domain, in every way, and exports the best known one.

    python -m recipes.finetune_photos
    python -m recipes.finetune_photos --data pacs --backbone hub:<folder or handle> --splits 0 1 2 3 4 5 6 7 8 9

By default nothing is downloaded: a small CNN is pretrained on Greek and Cyrillic letters and fine-tuned on Georgian
ones, in 5 to 10 minutes on two cores. `--data pacs` reads the photographs of PACS from `KERAS_TRANSFER_DATA` and takes
about a minute for each split and strategy. `--backbone` is `small_cnn`, `hub:<handle>`, or `mobilenet:<weights file>`,
which is keras.applications.MobileNet up to `conv_pw_12_relu`: made of Keras layers, so it takes LoRA.

Each split draws its labels anew and is tested on all other images of the domain. Every strategy sees the same augmented
views. Measured numbers: `results/finetune_photos/<case>.json`, shown in the README; how the rates were chosen:
`results/finetune_photos/selection.json`.
"""

import dataclasses
import math
import pathlib
import tempfile
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from recipes import pictures, runs

Strategy = Literal[
    "lp_ft",
    "lp_ft_interpolated",
    "upper",
    "upper_interpolated",
    "full",
    "norms",
    "norms_interpolated",
    "biases",
    "biases_interpolated",
    "layerwise",
    "layerwise_interpolated",
    "gradual",
    "gradual_interpolated",
    "l2sp",
    "l2sp_interpolated",
    "lora",
    "lora_interpolated",
]
BASELINES = ("head", "head_augmented")
SETTINGS = {  # learning rate and steps
    "glyphs": {
        "head": (1e-2, 6000),
        "head_augmented": (1e-2, 6000),
        "norms": (2e-2, 1980),
        "biases": (2e-2, 1980),
        **dict.fromkeys(("lp_ft", "upper", "full", "layerwise", "gradual", "l2sp", "lora"), (1e-2, 1980)),
    },
    "pacs": {
        "head": (3e-3, 400),
        "head_augmented": (1e-3, 1000),
        "upper": (5e-4, 300),
        "norms": (2e-3, 150),
        "biases": (2e-3, 150),
        "lora": (1e-3, 150),
        **dict.fromkeys(("lp_ft", "full", "layerwise", "gradual", "l2sp"), (3e-4, 150)),
    },
}
# The parts of each backbone from the input to the output, as patterns over the paths of its weights.
GROUPS = {
    "small_cnn": [rf"(.*/)?(conv|bn)_{block}/.*" for block in (1, 2, 3)],
    "mobilenet": [
        r"(.*/)?(conv1|conv_(dw|pw)_[1-3])(_bn)?/.*",
        r"(.*/)?conv_(dw|pw)_[4-6](_bn)?/.*",
        r"(.*/)?conv_(dw|pw)_[7-9](_bn)?/.*",
        r"(.*/)?conv_(dw|pw)_1[0-2](_bn)?/.*",
    ],
}
HEAD = r"(.*/)?logits/.*"


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "pacs"] = "glyphs"
    """Images of the new domain."""
    domain: Literal["art_painting", "cartoon", "photo"] = "art_painting"
    """Domain of PACS."""
    backbone: str = "small_cnn"
    """`small_cnn`, `hub:<folder or handle>` or `mobilenet:<weights file>`."""
    strategy: tuple[Strategy, ...] = ("lp_ft", "lp_ft_interpolated", "upper", "full", "norms", "lora")
    """Ways to fine-tune; the first is exported. `lp_ft`: all weights, from the trained head; `upper`: the upper half of
    the backbone, likewise; `interpolated`: weights averaged halfway to where they started. The baseline, a head alone
    on the plain images and one on their views, is always trained too."""
    labels_per_class: int = 10
    """Labelled images of each class."""
    pretraining_images: int = 20_000
    """Images of letters that `small_cnn` is pretrained on, five times over."""
    splits: tuple[int, ...] = (0, 1, 2)
    """One run of every strategy for each; at least two, for an interval."""
    steps: int | None = None
    """Training steps of each run, rounded to whole passes over the views; by default those in `SETTINGS`."""
    batch_size: int = 32
    """Images in a step."""
    views: int = 24
    """Augmented views of each labelled image, the image itself among them."""
    batch_norm: Literal["training", "frozen"] | None = None
    """Whether BatchNormalization trains and uses the statistics of the batch, or stays as it was pretrained; by default
    frozen for LoRA alone."""
    learning_rate: float | None = None
    """Of Adam, at the start of a cosine decay to 0; by default that of each strategy in `SETTINGS`."""
    runs: pathlib.Path = pathlib.Path("runs/finetune_photos")
    """Folder in which each run makes a folder with its config, report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/finetune_photos/<version>/`."""
    results: pathlib.Path | None = None
    """Where to copy the report as `finetune_photos/<case>.json`; by default nowhere."""


def load(config):
    """Returns images, labels and class names of the domain."""
    if config.data == "glyphs":
        letters = kt.datasets.script_letters("georgian")
        images, labels, _, _ = kt.datasets.glyphs(letters, n=4000, seed=1)
        return images, labels, list(letters)
    images, labels = kt.datasets.pacs(config.domain)
    return images, labels, kt.datasets.PACS_CLASSES


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


def build(config, pretrained=None):
    """Returns a new backbone with its pretrained weights, all of it trainable."""
    kind, _, source = config.backbone.partition(":")
    if kind == "hub":
        return kt.backbones.from_hub(source, trainable=True, input_shape=(128, 128, 3))
    if kind == "mobilenet":
        return kt.backbones.from_applications("MobileNet", source, (128, 128, 3), layer="conv_pw_12_relu")
    if kind != "small_cnn" or pretrained is None:
        raise ValueError(
            f"Expected `backbone` to be small_cnn, hub:... or mobilenet:...; received {config.backbone!r}."
        )
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=128)
    encoder.set_weights(pretrained.get_weights())
    return encoder


def draw_split(config, labels, split):
    """Returns the places of the labelled images, and of all others, which are the test."""
    rng = np.random.default_rng(split)
    chosen = [rng.permutation(np.flatnonzero(labels == c))[: config.labels_per_class] for c in np.unique(labels)]
    return np.concatenate(chosen), np.setdiff1d(np.arange(len(labels)), np.concatenate(chosen))


def augment(config, images, split):
    """Returns `views` views of each image, uint8, the images themselves first."""
    keras.utils.set_random_seed(split)  # before the layers, which draw their seeds when they are made
    if config.data == "glyphs":  # they keep a black margin, and lie as wide apart as the letters of a font
        fill = {"fill_mode": "constant", "fill_value": 0.0}
        change = [layers.RandomRotation(0.03, **fill), layers.RandomZoom((-0.1, 0.2), **fill)]
        change += [layers.RandomTranslation(0.1, 0.1, **fill)]
    else:
        change = [layers.RandomFlip("horizontal"), layers.RandomBrightness(0.15), layers.RandomTranslation(0.1, 0.1)]
        change += [layers.RandomZoom((-0.3, 0.1)), layers.RandomRotation(0.04), layers.RandomContrast(0.2)]
    pipeline = keras.Sequential(change)
    views = [pipeline(images.astype("float32"), training=True) for _ in range(config.views - 1)]
    return np.concatenate([images, *(np.clip(view, 0, 255).astype("uint8") for view in views)])


def compile_model(model, optimizer):
    """Compiles with the loss and metric of all strategies."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])


def fit(config, strategy, model, x, y, optimizer=lambda adam: adam, callbacks=()):
    """Trains with Adam and a cosine decay; returns the history."""
    rate, epochs = settings(config, strategy, len(x))
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * math.ceil(len(x) / config.batch_size))
    compile_model(model, optimizer(keras.optimizers.Adam(schedule)))
    return model.fit(x, y, config.batch_size, epochs, verbose=0, callbacks=list(callbacks)).history


def settings(config, strategy, rows):
    """Returns the learning rate and the number of whole passes."""
    rate, steps = SETTINGS[config.data][strategy]
    if strategy not in BASELINES:
        rate = config.learning_rate or rate
    steps = config.steps or steps
    return rate, max(1, round(steps / math.ceil(rows / config.batch_size)))


def finetune(config, strategy, encoder, head, x, y):
    """Trains encoder and head in one way; returns the model and the history."""
    groups = GROUPS["small_cnn" if config.backbone == "small_cnn" else "mobilenet"]
    tuning, options = kt.finetuning, {}
    batch_norm = config.batch_norm or ("frozen" if strategy == "lora" else "training")
    if strategy == "l2sp":
        model = kt.models.L2SP(encoder, head, start_weight=1e-3, head_weight=1e-3)
    else:
        model = keras.Sequential([encoder, head])
    model.build(encoder.input_shape)
    if strategy == "upper":
        tuning.train_only(model, [*groups[len(groups) // 2 :], HEAD])
    elif strategy == "norms":
        tuning.train_only(model, [r".*/(gamma|beta)", HEAD])
    elif strategy == "biases":
        tuning.train_only(model, [r".*/(bias|beta)", HEAD])
    elif strategy == "layerwise":
        options["optimizer"] = lambda adam: tuning.LayerwiseOptimizer(adam, tuning.discriminative_rates(groups))
    elif strategy == "gradual":
        options["optimizer"] = lambda adam: tuning.LayerwiseOptimizer(adam, dict.fromkeys(groups, 1.0))
        _, epochs = settings(config, strategy, len(x))
        first = {group: n * epochs // len(groups) for n, group in enumerate(reversed(groups))}
        options["callbacks"] = [kt.callbacks.GradualUnfreeze(first)]
    elif strategy == "lora":
        norms = [] if batch_norm == "frozen" else [r"(.*/)?(.*_bn|bn_.*)"]
        print(tuning.lora.attach(model, rank=8, also_train=[r"(.*/)?logits", *norms]))
    if batch_norm == "frozen":
        tuning.freeze_batch_norm(model)
    return model, fit(config, strategy, model, x, y, **options)


def run_split(config, split, data, pretrained):
    """Trains every arm on one split; yields its name, the network to serve, its history and its metrics."""
    x, y, classes = data
    few, rest = draw_split(config, y, split)
    views = augment(config, x[few], split), np.tile(y[few], config.views)
    encoder = build(config, pretrained)
    start = time.perf_counter()
    features = kt.streams.cached_features(encoder, views[0], verbose=False)
    extraction = time.perf_counter() - start
    test_features = encoder.predict(x[rest], batch_size=128, verbose=0)
    for arm, rows in (("head", len(few)), ("head_augmented", len(features))):
        keras.utils.set_random_seed(split)
        head = keras.Sequential([keras.Input(features.shape[1:]), layers.Dense(len(classes), name="logits")])
        start = time.perf_counter()
        history = fit(config, arm, head, features[:rows], views[1][:rows])
        seconds = time.perf_counter() - start + extraction * rows / len(features)
        yield (
            arm,
            head,
            history,
            {
                "accuracy": accuracy(head, test_features, y[rest]),
                "seconds": seconds,
                "trained_parameters": kt.finetuning.trainable_parameters(head),
                "file_megabytes": megabytes(head),
            },
        )

    trained = {}
    for arm in config.strategy:
        strategy = arm.removesuffix("_interpolated")
        if strategy not in trained:
            keras.utils.set_random_seed(split)
            networks = build(config, pretrained), keras.models.clone_model(head)
            if strategy != "full":  # from the trained head
                networks[1].set_weights(head.get_weights())
            before = [network.get_weights() for network in networks]
            start = time.perf_counter()
            model, history = finetune(config, strategy, *networks, *views)
            costs = {
                "seconds": time.perf_counter() - start,
                "trained_parameters": kt.finetuning.trainable_parameters(model),
                "file_megabytes": megabytes(model),
            }
            served = kt.finetuning.lora.merge(model) if strategy == "lora" else keras.Sequential(networks)
            after = [network.get_weights() for network in served.layers]
            trained[strategy] = served, before, after, history, costs
        served, before, after, history, costs = trained[strategy]
        share = 0.5 if arm.endswith("_interpolated") else 1.0
        for network, first, last in zip(served.layers, before, after):
            network.set_weights(kt.finetuning.interpolate(first, last, share))
        yield arm, served, history, {"accuracy": accuracy(served, x[rest], y[rest]), **costs}


def accuracy(model, x, y):
    """Share of right answers."""
    return float((model.predict(x, batch_size=128, verbose=0).argmax(-1) == y).mean())


def megabytes(model):
    """Size of the file that keeps what was learned: the adapter of LoRA, otherwise all weights; no optimizer."""
    adapted = "lora" in str(model.trainable_variables)
    compile_model(model, "sgd")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "adapter.npz" if adapted else "all.weights.h5")
        kt.finetuning.lora.save(model, path) if adapted else model.save_weights(path)
        return path.stat().st_size / 1e6


def main(config):
    """Runs baselines and strategies over the splits, reports, draws, exports and verifies; returns the report."""
    if len(set(config.splits)) < 2:
        raise ValueError(f"Expected at least 2 splits for an interval; received {config.splits}.")
    x, y, classes = data = load(config)
    pretrained = pretrain(config) if config.backbone == "small_cnn" else None
    metrics, histories, answers = {}, {}, {}
    for split in config.splits:
        for arm, model, history, measured in run_split(config, split, data, pretrained):
            print(f"split {split}, {arm}: {measured['accuracy']:.3f} in {measured['seconds']:.0f} s", flush=True)
            metrics.setdefault(arm, {})[split] = measured
            histories.setdefault(arm, []).append(history)
            if split == config.splits[0] and arm == config.strategy[0]:
                rest = draw_split(config, y, split)[1]
                answers = {"images": x[rest], "labels": y[rest], "logits": model.predict(x[rest], verbose=0)}
                version = kt.export(
                    model, config.saved_models / "finetune_photos", x[rest], classes=classes, metrics=measured
                )
                verified = kt.serving.verify(version, model, x[rest][:16])

    used = runs.settings(config)
    extra = {"config": used, "settings": SETTINGS[config.data], "export": verified._asdict(), "histories": histories}
    report = kt.report.TransferReport(metrics, BASELINES, "accuracy", extra)
    case = f"{config.data if config.data == 'glyphs' else config.domain}_{used['backbone']}"
    case += f"_{config.labels_per_class}"
    folder = runs.folder(config, case)
    report.save(folder)
    few, _ = draw_split(config, y, config.splits[0])
    shown = {"labelled": x[few], "views": augment(config, x[few], config.splits[0])[len(few) :]}
    for name, figure in {
        "samples": pictures.samples(shown),
        "curves": pictures.curves({arm.removesuffix("_interpolated"): fits for arm, fits in histories.items()}),
        "predictions": pictures.predictions(**answers, classes=classes),
    }.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    if config.results:
        report.write(config.results / "finetune_photos" / f"{case}.json")
    print(f"\n{case}\n{report}\n\nPictures and report: {folder}\nExport: {version}")
    print(f"Largest difference in a fresh process: {max(verified.differences.values()):.1e}")
    return report.to_dict()


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))

"""Fine-tunes a pretrained backbone on a few labels of a new image domain, in every way, and exports the best known one.

    python -m keras_transfer.recipes.studies.finetune_strategies
    python -m keras_transfer.recipes.studies.finetune_strategies --data pacs --backbone hub:<folder or handle> \\
        --splits 0 1 2 3 4 5 6 7 8 9

By default nothing is downloaded: the letters of `recipes/finetune_letters.py`, in 5 to 10 minutes on two cores. `--data
pacs` reads the photographs of PACS from `KERAS_TRANSFER_DATA` and takes
about a minute for each split and strategy. `--backbone` is `small_cnn`, `hub:<handle>`, or `mobilenet:<weights file>`,
which is keras.applications.MobileNet up to `conv_pw_12_relu`: made of Keras layers, so it takes LoRA.

Each split draws its labels anew and is tested on all other images of the domain. Every strategy sees the same augmented
views. Measured numbers: `results/finetune_strategies/<case>.json`, shown in the README; how the rates were chosen:
`results/finetune_strategies/selection.json`.
"""

import dataclasses
import functools
import pathlib
import tempfile
import time
from typing import Literal, NamedTuple

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters, pictures, runs
from keras_transfer.recipes.finetune_letters import BASELINES, accuracy, compile_model, draw_split
from keras_transfer.recipes.finetune_photos import photographs

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
SETTINGS = {  # learning rate and steps
    "glyphs": {
        "norms": (2e-2, 1980),
        "biases": (2e-2, 1980),
        **dict.fromkeys(("lp_ft", "upper", "full", "layerwise", "gradual", "l2sp", "lora"), (1e-2, 1980)),
    },
    "pacs": {
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
    """Ways to fine-tune; the first is exported. `lp_ft`: all weights, from the fitted head; `upper`: the upper half of
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
    statistics: Literal["batch", "moving"] | None = None
    """Which statistics normalise in BatchNormalization: of the batch, and then it trains; or the moving averages, and
    then it stays as it was pretrained. By default those, for LoRA alone."""
    learning_rate: float | None = None
    """The learning rate of Adam at the start of a cosine decay to 0; by default that of each strategy in `SETTINGS`."""
    runs: pathlib.Path = pathlib.Path("runs/finetune_strategies")
    """Folder in which each run makes a folder with its config, report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/finetune_strategies/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/finetune_strategies/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns images, labels and class names of the domain."""
    if config.data == "glyphs":
        return finetune_letters.load()
    images, labels = kt.datasets.pacs(config.domain)
    return images, labels, kt.datasets.PACS_CLASSES


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
    return finetune_letters.build(pretrained)


def augment(config, images, split):
    """Returns `views` views of each image, uint8, the images themselves first."""
    make = finetune_letters.changes if config.data == "glyphs" else photographs
    return finetune_letters.augment(config, images, split, make)


def settings(config, strategy):
    """Returns the learning rate and the steps."""
    rate, steps = SETTINGS[config.data][strategy]
    return config.learning_rate or rate, config.steps or steps


def finetune(config, split, strategy, encoder, head, x, y):
    """Trains encoder and head in one way; returns the model and the history."""
    groups = GROUPS["small_cnn" if config.backbone == "small_cnn" else "mobilenet"]
    tuning, options = kt.finetuning, {}
    statistics = config.statistics or ("moving" if strategy == "lora" else "batch")
    rate, steps = settings(config, strategy)
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
        epochs = finetune_letters.passes(config, steps, len(x))
        first = {group: n * epochs // len(groups) for n, group in enumerate(reversed(groups))}
        options["callbacks"] = [kt.callbacks.GradualUnfreeze(first)]
    elif strategy == "lora":
        norms = [] if statistics == "moving" else [r"(.*/)?(.*_bn|bn_.*)"]
        print(tuning.lora.attach(model, rank=8, also_train=[r"(.*/)?logits", *norms]))
    if statistics == "moving":
        tuning.freeze_batch_norm(model)
    title = f"{strategy}, split {split}"
    return model, finetune_letters.fit(config, title, model, x, y, rate, steps, **options)


class Split(NamedTuple):
    """Where the labelled images and the test lie in the data, the views of the former, and the labels of these."""

    few: np.ndarray
    rest: np.ndarray
    views: np.ndarray
    labels: np.ndarray


def draw(config, data, split):
    """Returns the `Split` of a number."""
    x, y, _ = data
    few, rest = draw_split(config.labels_per_class, y, split)
    return Split(few, rest, augment(config, x[few], split), np.tile(y[few], config.views))


def fit_heads(config, data, drawn, pretrained):
    """Fits the baselines; yields arm, metrics, score on images held out, and a head that answers as it does."""
    x, y, _ = data
    encoder = build(config, pretrained)
    features = encoder.predict(x[drawn.rest], batch_size=128, verbose=0)
    for arm, probe, score, seconds in finetune_letters.fit_probes(encoder, drawn.views, drawn.labels, len(drawn.few)):
        head = keras.Sequential([keras.Input(features.shape[1:]), kt.metrics.probe_head(probe)])
        accuracy = float(probe.score(features, y[drawn.rest]))
        yield arm, {"accuracy": accuracy, "seconds": seconds, **size(head)}, score, head


def tune(config, split, strategy, data, drawn, pretrained, head):
    """Fine-tunes from the fitted head; yields each arm of the strategy, the network to serve, metrics and history."""
    x, y, _ = data
    networks = build(config, pretrained), keras.models.clone_model(head)
    if strategy != "full":  # from the fitted head
        networks[1].set_weights(head.get_weights())
    before = [network.get_weights() for network in networks]
    start = time.perf_counter()
    model, history = finetune(config, split, strategy, *networks, drawn.views, drawn.labels)
    costs = {"seconds": time.perf_counter() - start, **size(model)}
    served = kt.finetuning.lora.merge(model) if strategy == "lora" else keras.Sequential(networks)
    after = [network.get_weights() for network in served.layers]
    for arm in (arm for arm in config.strategy if arm.removesuffix("_interpolated") == strategy):
        share = 0.5 if arm.endswith("_interpolated") else 1.0
        for network, first, last in zip(served.layers, before, after):
            network.set_weights(kt.finetuning.interpolate(first, last, share))
        yield arm, served, {"accuracy": accuracy(served, x[drawn.rest], y[drawn.rest]), **costs}, history


def size(model):
    """Returns how many parameters were trained, and the size of the file that keeps what was learned.

    That is the adapter of LoRA, otherwise all weights; no optimizer.
    """
    parameters = kt.finetuning.trainable_parameters(model)
    adapted = "lora" in str(model.trainable_variables)
    compile_model(model, "sgd")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "adapter.npz" if adapted else "all.weights.h5")
        kt.finetuning.lora.save(model, path) if adapted else model.save_weights(path)
        return {"trained_parameters": parameters, "file_megabytes": path.stat().st_size / 1e6}


def main(config):
    """Runs baselines and strategies over the splits, reports, draws, exports and verifies; returns the report."""
    if len(config.splits) < 2:
        raise ValueError(f"Expected at least 2 splits for an interval; received {config.splits}.")
    domain = config.data if config.data == "glyphs" else config.domain
    case = f"{domain}_{config.backbone.partition(':')[0]}_{config.labels_per_class}"
    run, pretrained = runs.Run(config, "finetune_strategies", case), None
    x, y, classes = data = load(config)
    if config.backbone == "small_cnn":
        pretrained = run.part("pretraining", lambda: ({}, {"encoder": finetune_letters.pretrain(config)}))[1]["encoder"]
    metrics, histories, first, served, shown = {}, {}, config.strategy[0], None, None

    def heads(split, drawn):
        found, best = {}, None
        for arm, measured, score, head in fit_heads(config, data, drawn, pretrained):
            found[arm] = {"metrics": measured}
            best = max(best or (score, head), (score, head), key=lambda pair: pair[0])
            print(f"split {split}, {arm}: {measured['accuracy']:.3f} in {measured['seconds']:.0f} s", flush=True)
        return found, {"head": best[1]}

    def part(split, train, kept):
        found, networks = {}, {}
        for arm, network, measured, history in train():
            print(f"split {split}, {arm}: {measured['accuracy']:.3f} in {measured['seconds']:.0f} s", flush=True)
            found[arm] = {"metrics": measured, "history": history}
            if arm == kept:
                networks[kept], weights = network, network.get_weights()
        if networks:
            networks[kept].set_weights(weights)  # another arm of the strategy has changed them
        return found, networks

    strategies = dict.fromkeys(arm.removesuffix("_interpolated") for arm in config.strategy)
    for split in config.splits:
        drawn = draw(config, data, split)
        shown = shown or drawn
        found, networks = run.part(f"heads, split {split}", functools.partial(heads, split, drawn), split)
        for strategy in strategies:
            tuned = functools.partial(tune, config, split, strategy, data, drawn, pretrained, networks["head"])
            compute = functools.partial(part, split, tuned, first if split == config.splits[0] else None)
            more, ended = run.part(f"{strategy}, split {split}", compute, split)
            served, found = served or ended.get(first), found | more
        for arm, one in found.items():
            metrics.setdefault(arm, {})[split] = one["metrics"]
            if arm not in BASELINES:
                histories.setdefault(arm, []).append(one["history"])

    few, rest, views, _ = shown
    figures = {
        "samples": pictures.samples({"labelled": x[few], "views": views[len(few) :]}),
        "curves": pictures.curves({arm.removesuffix("_interpolated"): fits for arm, fits in histories.items()}),
        "predictions": pictures.predictions(x[rest], y[rest], served.predict(x[rest], verbose=0), classes),
    }
    extra = {"settings": SETTINGS[config.data], "histories": histories}
    report = kt.report.TransferReport(metrics, BASELINES, "accuracy", extra)
    export = {"x": x[rest], "classes": classes, "metrics": metrics[first][config.splits[0]]}
    return run.finish(report, figures, model=served, **export)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

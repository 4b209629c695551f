"""Compares ways to tell classes apart from a few examples of each, on classes never seen.

    python -m keras_transfer.recipes.studies.learn_episodes
    python -m keras_transfer.recipes.studies.learn_episodes --data omniglot --method prototypical --no-baselines \\
        --steps 9000 --seeds 0 --precision mixed_bfloat16
    python -m keras_transfer.recipes.studies.learn_episodes --data pacs --backbone hub:<folder or handle> \\
        --shots 5 --ways 7

By default nothing is downloaded: the letters of `recipes/learn_photos.py`, in about 25 minutes on two cores. `--data
omniglot` reads Omniglot from `KERAS_TRANSFER_DATA` or downloads it (15 MB), and takes about half an hour for each
method and seed. `--data pacs` learns a layer on the features of a pretrained backbone, which runs once: trained on
photos, tested on art paintings, which need the folder `pacs` there.

The baselines: the same encoder, trained to classify the training classes, with SimpleShot, the nearest neighbour and a
logistic regression of its features, fitted to the examples of each episode with the penalty that the calibration part
likes best; and the nearest neighbour in pixels. On PACS, the same on the backbone's features. Measured numbers:
`results/learn_episodes/<data>_<shots>.json`, shown in docs/few_shot.md.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import episodes, pictures, runs

PACS = ("photo", "cartoon", "art_painting")  # to train, to calibrate, to test
# Ways and shots of the test, and of the requests that the export is verified on.
SIZES = ((5, 1), (5, 5), (20, 1), (20, 5))
TESTS = {"glyphs": SIZES, "omniglot": SIZES, "pacs": ((5, 1), (5, 5), (7, 1), (7, 5))}
UNSEEN = dict.fromkeys(TESTS, ((3, 2), (7, 1), (10, 4))) | {"pacs": ((3, 2), (7, 1), (4, 4))}
SHOTS = (1, 2, 3, 5, 10)  # of the picture of accuracy against shots, 5-way
FROZEN = ("simple_shot", "nearest_neighbour", "logistic_regression")  # baselines on one encoder


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "omniglot", "pacs"] = "glyphs"
    """Classes to train on, and others to test on; each turned by 90, 180 and 270 degrees is another class. PACS: the
    same classes, in photos and in paintings."""
    backbone: str = ""
    """The backbone of PACS, for images of 128 x 128 pixels: `hub:<folder or handle>` or `mobilenet:<weights file>`."""
    method: tuple[Literal["prototypical", "matching"], ...] = ("prototypical", "matching")
    """Methods to train; the first is exported."""
    baselines: bool = True
    """Whether to train the classifier of the baselines too."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of every arm for each."""
    steps: int = 400
    """Training steps of each arm, in hundreds; a step of the classifier sees as many images."""
    ways: int = 60
    """Classes of a training episode."""
    shots: int = 1
    """Examples of each class in a training episode."""
    queries: int = 5
    """Queries of each class in a training episode."""
    learning_rate: float = 2e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """The dtype policy of the encoder; bfloat16 is faster on CPUs with AMX."""
    validation: bool = False
    """Whether Omniglot's 172 validation characters train too, after all choices were made; they calibrate otherwise."""
    test_episodes: int = 1000
    """Test episodes of each size, of 15 queries for each class."""
    runs: pathlib.Path = pathlib.Path("runs/learn_episodes")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_episodes/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/learn_episodes/<data>_<shots>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns rows and labels for training, calibration and test: of different classes, or domains."""
    if config.data == "pacs":
        encoder, parts = backbone(config), [kt.datasets.pacs(domain, 128) for domain in PACS]
        return tuple(kt.backbones.cached_features(encoder, part) for part in parts)
    if config.data == "omniglot":
        train, validation, test = (kt.datasets.omniglot(split) for split in ("train", "validation", "test"))
        if config.validation:
            labels = np.concatenate([train[1], validation[1] + 1 + train[1].max()])
            train = np.concatenate([train[0], validation[0]]), labels
        return train, validation, test
    return episodes.load()


def backbone(config):
    """Returns the pretrained backbone of PACS."""
    kind, _, source = config.backbone.partition(":")
    if kind == "hub" and source:
        return kt.backbones.from_hub(source, input_shape=(128, 128, 3))
    if kind == "mobilenet" and source:
        return kt.backbones.from_applications("MobileNet", source, (128, 128, 3), layer="conv_pw_12_relu")
    raise ValueError(
        f"Expected `backbone` hub:<folder or handle> or mobilenet:<file> for PACS; received {config.backbone!r}."
    )


def build(config):
    """Returns a new encoder: that of the letters, or on the features of a pretrained backbone one linear layer."""
    return episodes.build_layer(1024) if config.data == "pacs" else episodes.build(config.precision)


def few_shot(arm, encoder):
    """Returns the few-shot model of an arm on an encoder."""
    if arm in ("prototypical", "simple_shot"):
        return kt.models.PrototypicalNetwork(encoder)
    if arm == "matching":
        return kt.models.MatchingNetwork(encoder)
    return kt.models.MatchingNetwork(encoder, temperature=0.01)  # the nearest neighbour


def protocol(config, normalization, seed):
    """Returns what a reader has to know of the data to compare a number; see `kt.report.FewShotReport`."""
    rotations = "none" if config.data == "pacs" else "classes of their own"
    card = {"data": config.data, "rotations": rotations, "batch_norm": normalization, "seed": seed}
    if config.data == "omniglot":
        characters = "trained on too" if config.validation else "not trained on"
        card |= {"split": "Vinyals et al.", "validation_characters": characters}
    return card


def features(encoder, data):
    """Returns features and labels, of images in all turns: the encoder runs once for all episodes."""
    data = data if data[0].ndim == 2 else episodes.turned(*data)
    return kt.backbones.cached_features(encoder, data, batch_size=512, verbose=False)


def measure(config, arm, seed, data, sizes, known=None):
    """Measures an arm on episodes of features of classes never seen; the penalties are chosen on those of `known`."""
    normalization = "none" if arm == "pixels" or config.data == "pacs" else "moving averages"
    card = protocol(config, normalization, seed)
    card |= {"train_ways": config.ways, "train_shots": config.shots, "steps": config.steps}
    model, reports = few_shot(arm, episodes.identity(data[0].shape[1])), []
    for *size, number in sizes:
        if arm == "logistic_regression":
            choosing = min(number, 100)
            penalty = episodes.choose_penalty(known, episodes.allowed(known[1], *size), choosing, seed)
            reports.append(episodes.logistic_regression(data, size, penalty, number, seed, card | {"penalty": penalty}))
        else:
            reports += episodes.measure(model, data, [size], number, seed, card)
    return reports


def main(config):
    """Trains and tests every arm, draws, exports and verifies; returns the record."""
    episodes.check_steps(config.steps)
    run = runs.Run(config, "learn_episodes", f"{config.data}_{config.shots}")
    training, validation, test = load(config)
    sizes = [(ways, shots, 15, config.test_episodes) for ways, shots in TESTS[config.data]]
    sizes += [(5, shots, 10, max(20, config.test_episodes // 5)) for shots in SHOTS]
    new, first = functools.partial(build, config), config.seeds[0]
    record, histories, tests, by_shots, kept = {}, {}, {}, {}, None

    def tested(arm, seed, encoded, seconds, known=None):
        count = len(TESTS[config.data])
        asked = sizes if seed == first else sizes[:count]
        reports = [r.to_dict() for r in measure(config, arm, seed, encoded, asked, known)]
        found = {"seed": seed, "seconds": seconds, "reports": reports[:count]}
        print(f"{arm}, seed {seed}: " + ", ".join(f"{100 * r['accuracy']:.2f} %" for r in reports[:count]), flush=True)
        return {"test": found, "by_shots": [report["accuracy"] for report in reports[count:]]}

    def method(arm, seed):
        start = time.perf_counter()
        make, rotations = functools.partial(few_shot, arm), config.data != "pacs"
        encoder, history = episodes.train(config, seed, training, new, make, rotations)
        found = tested(arm, seed, features(encoder, test), time.perf_counter() - start)
        networks = {"encoder": encoder} if (arm, seed) == (config.method[0], first) else {}
        return {"arms": {arm: found}, "histories": {arm: history}}, networks

    def baselines(seed):
        start, fits = time.perf_counter(), {}
        if config.data == "pacs":
            encoder = episodes.identity(1024)
        else:
            encoder, fits["classifier"] = episodes.train_classifier(config, seed, episodes.turned(*training), new)
        seconds = time.perf_counter() - start
        simple = kt.models.simple_shot(encoder, encoder.predict(training[0], batch_size=512, verbose=0))
        known, unknown = (features(simple, data) for data in (validation, test))
        found = {
            "simple_shot": tested("simple_shot", seed, unknown, seconds),
            "nearest_neighbour": tested("nearest_neighbour", seed, features(encoder, test), seconds),
            "logistic_regression": tested("logistic_regression", seed, unknown, seconds, known),
        }
        return {"arms": found, "histories": fits}, {}

    def pixels(seed):
        flat = [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Flatten()]
        found = tested("pixels", seed, features(keras.Sequential(flat), test), 0.0)
        return {"arms": {"pixels": found}, "histories": {}}, {}

    parts = []
    for seed in config.seeds:
        parts += [(arm, seed, functools.partial(method, arm)) for arm in config.method]
        if config.baselines and (config.data != "pacs" or seed == first):
            parts.append(("baselines", seed, baselines))  # on the features of a backbone they train nothing
    if config.data != "pacs":
        parts.append(("pixels", first, pixels))
    for name, seed, compute in parts:
        found, networks = run.part(f"{name}, seed {seed}", functools.partial(compute, seed), seed)
        for arm, one in found["arms"].items():
            tests.setdefault(arm, []).append(one["test"])
            by_shots.setdefault(arm, one["by_shots"])
        for arm, history in found["histories"].items():
            histories.setdefault(arm, []).append(history)
        kept = kept or networks.get("encoder")

    model = few_shot(config.method[0], kept)
    if config.method[0] == "prototypical":
        known = kt.streams.episodes(*validation, ways=5, shots=5, queries=10, batches=100, seed=0)
        record["unknown_distance"] = model.calibrate(known, known=0.95)
    images, export = test, {}
    if config.data == "pacs":  # what is served takes images; distances of a backbone's features are hundreds
        images = kt.datasets.pacs(PACS[-1], 128)
        export = {"preprocessing": backbone(config), "tolerance": 1e-2}
    record |= {"tests": tests, "shots": SHOTS, "by_shots": by_shots, "histories": histories}
    figures = draw(model, test, images[0], record, TESTS[config.data])
    export |= {"x": images[0][:8]}
    export |= {"requests": episodes.requests(images, [(*size, 3) for size in UNSEEN[config.data]])}
    return run.finish(record, figures, model=model, **export)


def draw(model, data, images, record, sizes):
    """Returns an episode with its answers, the embedding of a test episode, accuracies, and learning curves."""
    wide, y_wide = next(iter(kt.streams.episodes(*data, ways=7, shots=1, queries=15, batches=1, seed=1)))
    points = model.predict(wide["query"][0].numpy(), verbose=0)
    return {
        "episode": episodes.answered(model, data, images),
        "embedding": pictures.classes(points, y_wide[0].numpy()),
        "accuracy": episodes.accuracies(record["tests"], sizes),
        "shots": pictures.by_shots(record["shots"], record["by_shots"]),
        "curves": pictures.curves(record["histories"]),
    }


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

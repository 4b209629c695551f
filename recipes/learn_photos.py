"""Learns to tell new classes apart from a few examples of each, tests it on classes never seen, and exports it.

    keras-transfer few-shot
    keras-transfer few-shot --images my_photos --backbone applications:MobileNetV2

Without `--images` nothing is downloaded: Latin, Greek and Cyrillic letters train, Armenian and Georgian ones test, in
about 6 minutes on two cores. `--images` is a folder of your own pictures, `<class>/*.jpg`, or a CSV file: a third of
the classes tests, a sixth chooses, the rest trains; each seed draws them anew. A pretrained backbone runs once over all
pictures, which takes most of the time; what trains then is a layer on its features, in seconds.

`prototypical` learns from episodes. The baselines: `simple_shot`, the nearest class mean of centred and normalised
features, and `logistic_regression`, of scikit-learn, fitted to the examples of each episode on the same features, its
penalty chosen by the classes that choose. The features are the backbone's, or where there is none those of the same
encoder, trained to classify the training classes. Whichever of the first two is better on the classes that choose is
exported: a request brings the examples of its classes.

Omniglot, PACS, matching networks and further baselines: `recipes/studies/learn_episodes.py`. Measured numbers:
`results/learn_photos/` and `results/learn_episodes/`.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import episodes, own_pictures, pictures, runs

SIZES = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots of the test: of letters
OWN_SIZES = ((5, 1), (5, 5))  # of own pictures, where their classes allow it
QUERIES = 15  # of each class in the test
BASELINES = ("simple_shot", "logistic_regression")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    images: pathlib.Path | None = None
    """Your pictures: a folder with one folder for each class, `<class>/*.jpg`, or a CSV file; by default letters."""
    image_column: str = "path"
    """Column of the CSV file that holds the pictures' paths, which start from its folder."""
    label_column: str = "label"
    """Column of the CSV file that holds the classes."""
    image_size: int = 128
    """Side in pixels that your pictures are reduced to: the largest centred square of each."""
    skip_unreadable: bool = False
    """Go on without pictures that cannot be read; by default they are listed and nothing trains."""
    backbone: str = "small_cnn"
    """The network from your pictures to features: `small_cnn`, which trains here, with all pictures in memory; or one
    that is pretrained and stays as it is: `applications:MobileNetV2` (ImageNet weights, which Keras downloads),
    `hub:<folder or handle>`, `keras_hub:<preset>` or `file:<path>.keras`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of your classes, and one training of each arm, for each; two or more for an interval."""
    steps: int = 400
    """Training steps of each arm, in hundreds; a step of the classifier sees as many images."""
    ways: int = 60
    """Classes of a training episode; fewer where fewer train."""
    shots: int = 1
    """Examples of each class in a training episode."""
    queries: int = 5
    """Queries of each class in a training episode."""
    learning_rate: float = 2e-3
    """The learning rate of Adam at the start of a cosine decay to 0; a layer on a backbone's features, which begins as
    `simple_shot`, takes a twentieth of it."""
    test_episodes: int = 1000
    """Test episodes of each size, in tens, and a tenth as many that choose."""
    runs: pathlib.Path = pathlib.Path("runs/learn_photos")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_photos/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/learn_photos/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


class Data(NamedTuple):
    """Pictures of many classes, and how they are tested.

    Args:
        images: uint8 array `(n, height, width, channels)`, or `kt.datasets.ImageFiles`.
        rows: what trains: the images, or their features `(n, dim)`.
        labels: integer array `(n,)`.
        names: sequence of the names of the classes.
        sizes: tuple of ways and shots of each size of the test.
        queries: int, queries of each class in the test.
        parts: three sequences of the classes that train, choose and test; None: each seed draws them.
        backbone: network from images to rows, or None where these are the same.
    """

    images: np.ndarray | kt.datasets.ImageFiles
    rows: np.ndarray
    labels: np.ndarray
    names: Sequence
    sizes: tuple
    queries: int = QUERIES
    parts: Sequence | None = None
    backbone: keras.Model | None = None

    def split(self, seed):
        """Returns the places of the rows that train, that choose and that test: of different classes."""
        parts = self.parts
        if parts is None:
            classes = np.random.default_rng(seed).permutation(np.unique(self.labels))
            choose, test = held_out(len(classes))
            parts = np.split(classes, [len(classes) - test - choose, len(classes) - test])
        return [np.flatnonzero(np.isin(self.labels, part)) for part in parts]


def held_out(classes):
    """Returns how many of so many classes choose, and how many test: a sixth and a third, and at least two."""
    return max(2, round(classes / 6)), max(2, round(classes / 3))


def load(config):
    """Returns own pictures or letters as `Data`."""
    if config.images is None:
        images, labels = zip(*episodes.load())
        ends = np.cumsum([0, *(part.max() + 1 for part in labels)])
        labels = np.concatenate([part + start for part, start in zip(labels, ends)])
        images, parts = np.concatenate(images), [range(*pair) for pair in zip(ends, ends[1:])]
        return Data(images, images, labels, range(ends[-1]), SIZES, parts=parts)
    fields = "images", "image_column", "label_column", "image_size", "skip_unreadable", "backbone"
    options = own_pictures.Options(**{name: getattr(config, name) for name in fields})
    files, sizes, queries = fitting(own_pictures.find(options)[0])
    readable = own_pictures.readable(files, config.skip_unreadable)[0]
    if len(readable) < len(files):
        files, sizes, queries = fitting(readable)
    if config.backbone == "small_cnn":
        images = files[:]
        return Data(images, images, files.labels, files.class_names, sizes, queries)
    backbone = own_pictures.backbone(options, trainable=False)
    rows = kt.backbones.cached_features(backbone, files)
    return Data(files, rows, files.labels, files.class_names, sizes, queries, backbone=backbone)


def fitting(files):
    """Returns the pictures of the classes that have enough of them, and the test that these allow; says what they are.

    Args:
        files: `kt.datasets.ImageFiles` with labels.

    Returns:
        Tuple of `kt.datasets.ImageFiles`, the ways and shots of each size, and the number of queries of each class.

    Raises:
        ValueError: if there are fewer than six classes of two pictures.
    """
    counts = np.bincount(files.labels, minlength=len(files.class_names))
    most = max(shots for _, shots in OWN_SIZES)
    kept, two = (np.flatnonzero(counts > shots) for shots in (most, 1))
    if len(kept) < max(6, len(two) / 2):
        kept = two
    if len(kept) < 6:
        raise ValueError(
            "Expected at least 6 classes of at least 2 pictures: 2 classes to train, 2 to choose and 2 to test; "
            f"received {len(kept)} of {len(counts)}."
        )
    least, (_, test) = int(counts[kept].min()), held_out(len(kept))
    sizes = tuple((min(ways, test), shots) for ways, shots in OWN_SIZES if shots < least)
    queries = min(QUERIES, least - max(shots for _, shots in sizes))
    tested = " and ".join(f"{ways}-way {shots}-shot" for ways, shots in sizes)
    print(f"{counts[kept].sum()} pictures of {len(kept)} classes, of which {test} test: {tested}, {queries} queries")
    left = [name for label, name in enumerate(files.class_names) if label not in kept]
    if left:
        print(f"Left out, of too few pictures: {', '.join(left[:5])}{', ...' * (len(left) > 5)} ({len(left)} classes)")
    if sizes != OWN_SIZES:
        print(f"For 5-way 1- and 5-shot, 15 classes of {most + 1} pictures or more are needed", flush=True)
    return files.subset(np.isin(files.labels, kept)), sizes, queries


def new_encoder(data):
    """Returns a new encoder of letters, or of pictures."""
    if data.parts is not None:
        return episodes.build()
    return kt.backbones.small_cnn(data.rows.shape[1:], momentum=0.9)


def new_layer(features):
    """Returns a new encoder of a backbone's features: a linear layer on those of `simple_shot`, as which it begins."""
    dim = features.shape[1]
    centred = layers.Normalization(mean=features.mean(0), variance=np.ones(dim))
    layer = layers.Dense(dim, kernel_initializer="identity", name="metric")
    scale = layers.Rescaling(4.0)  # distances of at most 64, whose softmax can be sure
    return keras.Sequential([keras.Input((dim,)), centred, layers.UnitNormalization(), layer, scale])


def pairs(data, places):
    """Returns the rows and labels that are measured on: of letters in all turns, each a class."""
    rows = data.rows[places], data.labels[places]
    return rows if data.parts is None else episodes.turned(*rows)


def main(config):
    """Trains and tests every arm, draws, exports and verifies; returns the record."""
    episodes.check_steps(config.steps)
    if config.test_episodes < 20 or config.test_episodes % 10:
        raise ValueError(f"Expected `test_episodes` in tens, at least 20; received {config.test_episodes}.")
    run = runs.Run(config, "learn_photos", config.images.stem if config.images else "letters")
    data = load(config)
    first, few = config.seeds[0], max(20, config.test_episodes // 100 * 10)
    sizes = [(*size, data.queries) for size in data.sizes]

    def card(seed):
        return {"data": run.case, "rotations": "none" if data.parts is None else "classes of their own", "seed": seed}

    def told(arm, seed, reports, chosen_by, seconds):
        """What the record says of an arm, and the share of right answers on the classes that choose."""
        found = ", ".join(f"{ways}-way {shots}-shot" for ways, shots in data.sizes)
        print(f"{arm}, seed {seed}: {found}: " + ", ".join(f"{100 * report.mean:.1f} %" for report in reports))
        return {"seed": seed, "seconds": seconds, "chosen_by": chosen_by, "reports": [r.to_dict() for r in reports]}

    def features(encoder, seed):
        """Features and labels of the classes that choose, and of those that test; sizes that the former allow."""
        parts = [pairs(data, places) for places in data.split(seed)[1:]]
        found = [kt.backbones.cached_features(encoder, part, batch_size=512, verbose=False) for part in parts]
        return *found, [episodes.allowed(found[0][1], *size) for size in sizes]

    def nearest_mean(arm, seed, encoder, seconds):
        known, unknown, chosen_on = features(encoder, seed)
        model = kt.models.PrototypicalNetwork(episodes.identity(known[0].shape[1]))
        scores = [report.mean for report in episodes.measure(model, known, chosen_on, few, seed, {})]
        reports = episodes.measure(model, unknown, sizes, config.test_episodes, seed, card(seed))
        return told(arm, seed, reports, float(np.mean(scores)), seconds)

    def regressions(seed, encoder, seconds):
        known, unknown, chosen_on = features(encoder, seed)
        reports = []
        for size, asked in zip(sizes, chosen_on):
            penalty = episodes.choose_penalty(known, asked, few, seed)
            protocol = card(seed) | {"penalty": penalty}
            reports.append(episodes.logistic_regression(unknown, size, penalty, config.test_episodes, seed, protocol))
        return told("logistic_regression", seed, reports, None, seconds)

    def prototypical(seed):
        start, places = time.perf_counter(), data.split(seed)[0]
        training, settings, new = (data.rows[places], data.labels[places]), config, functools.partial(new_encoder, data)
        if data.backbone is not None:
            settings = dataclasses.replace(config, learning_rate=config.learning_rate / 20)
            new = functools.partial(new_layer, training[0])
        encoder, history = episodes.train(settings, seed, training, new, rotations=data.parts is not None)
        found = nearest_mean("prototypical", seed, encoder, time.perf_counter() - start)
        return {"tests": {"prototypical": found}, "history": history}, {"prototypical": encoder}

    def baselines(seed):
        start, places = time.perf_counter(), data.split(seed)[0]
        encoder, history = episodes.identity(data.rows.shape[-1]), None
        if data.backbone is None:
            encoder, history = episodes.train_classifier(
                config, seed, pairs(data, places), functools.partial(new_encoder, data)
            )
        plain = encoder.predict(data.rows[places], batch_size=512, verbose=0)
        encoder, seconds = kt.models.simple_shot(encoder, plain).encoder, time.perf_counter() - start
        found = nearest_mean("simple_shot", seed, encoder, seconds), regressions(seed, encoder, seconds)
        return {"tests": dict(zip(BASELINES, found)), "history": history}, {"simple_shot": encoder}

    tests, histories, encoders = {}, {}, {}
    for seed in config.seeds:
        for name, compute in (("prototypical", prototypical), ("baselines", baselines)):
            found, networks = run.part(f"{name}, seed {seed}", functools.partial(compute, seed), seed)
            for arm, one in found["tests"].items():
                tests.setdefault(arm, []).append(one)
            if found["history"]:
                histories.setdefault(name, []).append(found["history"])
            if seed == first:
                encoders |= networks

    scores = {arm: float(np.mean([one["chosen_by"] for one in tests[arm]])) for arm in encoders}
    exported = max(scores, key=scores.get)
    parts = [encoders[exported]] if data.backbone is None else [data.backbone, encoders[exported]]
    model = kt.models.PrototypicalNetwork(keras.Sequential(parts))
    record, text = {"exported": exported, "chosen_by": scores, "tests": tests, "histories": histories}, []
    for number, (ways, shots) in enumerate(data.sizes if len(config.seeds) > 1 else ()):
        accuracies = {
            arm: {one["seed"]: {"accuracy": one["reports"][number]["accuracy"]} for one in found}
            for arm, found in tests.items()
        }
        report = kt.report.TransferReport(accuracies, BASELINES, "accuracy")
        record.setdefault("reports", {})[f"{ways}-way {shots}-shot"] = report.to_dict()
        text += [f"{run.case}, {ways}-way {shots}-shot, test classes that no arm has seen", str(report), ""]
    told_scores = ", ".join(f"{arm} {100 * score:.1f} %" for arm, score in scores.items())
    text.append(f"Exported: {exported}, chosen by classes that do not test: {told_scores}.")

    # What is served sees pictures: a few of each class.
    _, choose, test = data.split(first)
    images, labels = some(data, test, 25)
    known, known_labels = some(data, choose, 25)
    ways, shots, queries = episodes.allowed(known_labels, 5, max(shots for _, shots in data.sizes), 10)
    calibration = kt.streams.episodes(known, known_labels, ways, shots, queries, batches=20, seed=0)
    record["unknown_distance"] = model.calibrate(calibration, known=0.95)
    shown = np.isin(labels, np.unique(labels)[:10])
    figures = {
        "episode": episodes.answered(model, (images, labels), size=episodes.allowed(labels, 5, 1, 6)),
        "embedding": pictures.classes(model.predict(images[shown], verbose=0), labels[shown], data.names),
        "accuracy": episodes.accuracies(tests, data.sizes),
        "curves": pictures.curves(histories),
    }
    wide = sorted({episodes.allowed(labels, *size) for size in ((3, 2, 3), (7, 1, 3), (10, 4, 3))})
    requests = episodes.requests((images, labels), wide)  # any ways, any shots
    exact = {} if data.backbone is None else {"tolerance": 1e-3}
    return run.finish(record, figures, "\n".join(text), model=model, x=images[:8], requests=requests, **exact)


def some(data, places, number):
    """Returns images and labels of some of these rows: at most so many of each class."""
    labels = data.labels[places]
    chosen = np.concatenate([places[labels == label][:number] for label in np.unique(labels)])
    return data.images[chosen], data.labels[chosen]


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

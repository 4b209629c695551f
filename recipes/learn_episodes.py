"""Learns to tell classes apart from a few examples of each, tests it on classes never seen, and exports it.

    python -m recipes.learn_episodes
    python -m recipes.learn_episodes --data omniglot --method prototypical --no-baselines --steps 9000 --seeds 0 \\
        --precision mixed_bfloat16
    python -m recipes.learn_episodes --data pacs --backbone hub:<folder or handle> --shots 5 --ways 7

By default nothing is downloaded: trained on Latin, Greek and Cyrillic letters, tested on Armenian and Georgian ones,
in about 15 minutes on two cores. `--data omniglot` reads Omniglot from `KERAS_TRANSFER_DATA` or downloads it (15 MB),
and takes about half an hour for each method and seed. `--data pacs` learns a layer on the features of a pretrained
backbone, which runs once: trained on photos, tested on art paintings, which need the folder `pacs` there.

The baselines: the same encoder, trained to classify the training classes, with SimpleShot, the nearest neighbour and a
fine-tuned linear head on its features; and the nearest neighbour in pixels. On PACS, the same on the backbone's
features. Measured numbers: `results/learn_episodes/<data>_<shots>.json`, shown in the README.
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
from recipes import pictures, runs

TRAINING_SCRIPTS, TEST_SCRIPTS = ("latin", "greek", "cyrillic"), ("armenian", "georgian")
PACS = ("photo", "cartoon", "art_painting")  # to train, to calibrate, to test
SIZES = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots of the test
TESTS = {"glyphs": SIZES, "omniglot": SIZES, "pacs": ((5, 1), (5, 5), (7, 1), (7, 5))}
SHOTS = (1, 2, 3, 5, 10)  # of the picture of accuracy against shots, 5-way
UNSEEN = dict.fromkeys(TESTS, ((3, 2), (7, 1), (10, 4))) | {"pacs": ((3, 2), (7, 1), (4, 4))}  # ways and shots
FROZEN = ("simple_shot", "nearest_neighbour", "linear_head")  # baselines on one encoder
RATES, HEAD_STEPS = (
    (3.0, 30.0, 300.0),
    20,
)  # of the linear head, on features of length 1, chosen on the calibration part
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "omniglot", "pacs"] = "glyphs"
    """Classes to train on, and others to test on; each turned by 90, 180 and 270 degrees is another class. PACS: the
    same classes, in photos and in paintings."""
    backbone: str = ""
    """Of PACS: `hub:<folder or handle>` or `mobilenet:<weights file>`, for images of 128 x 128 pixels."""
    method: tuple[Literal["prototypical", "matching"], ...] = ("prototypical", "matching")
    """Methods; the first is exported."""
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
    """Of Adam, at the start of a cosine decay to 0."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Of the encoder; bfloat16 is faster on CPUs with AMX."""
    validation: bool = False
    """Whether Omniglot's 172 validation characters train too, after all choices were made; they calibrate otherwise."""
    test_episodes: int = 1000
    """Test episodes of each size, of 15 queries for each class."""
    runs: pathlib.Path = pathlib.Path("runs/learn_episodes")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_episodes/<version>/`."""
    results: pathlib.Path | None = None
    """Where to copy the report as `learn_episodes/<data>_<shots>.json`; by default nowhere."""


def load(config):
    """Returns rows and labels for training, calibration and test: of different classes, or domains."""
    if config.data == "pacs":
        encoder, parts = backbone(config), [kt.datasets.pacs(domain, 128) for domain in PACS]
        return tuple(kt.streams.cached_features(encoder, part) for part in parts)
    if config.data == "omniglot":
        train, validation, test = (kt.datasets.omniglot(split) for split in ("train", "validation", "test"))
        if config.validation:
            labels = np.concatenate([train[1], validation[1] + 1 + train[1].max()])
            train = np.concatenate([train[0], validation[0]]), labels
        return train, validation, test
    known, new = ("".join(map(kt.datasets.script_letters, scripts)) for scripts in (TRAINING_SCRIPTS, TEST_SCRIPTS))
    calibration = known[::6]
    training = "".join(letter for letter in known if letter not in calibration)
    parts = enumerate((training, calibration, new))
    return tuple(kt.datasets.glyphs(letters, n=60 * len(letters), seed=number)[:2] for number, letters in parts)


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


def turned(x, y):
    """Returns images turned by 0, 90, 180 and 270 degrees, and a class for each character and turn; features as is."""
    if x.ndim == 2:
        return x, y
    images = np.concatenate([np.rot90(x, quarter, axes=(1, 2)) for quarter in range(4)])
    return images, np.concatenate([4 * y + quarter for quarter in range(4)])


def build(config):
    """Returns a new encoder: the field's four convolutions of 64 filters, pooled before they are normalised.

    On the features of a pretrained backbone, one linear layer.
    """
    if config.data == "pacs":
        return keras.Sequential([keras.Input((1024,)), layers.LayerNormalization(), layers.Dense(256)])
    x = images = keras.Input((28, 28, 1), name="images")
    x = layers.Rescaling(1 / 255, dtype="float32")(x)
    for _ in range(4):
        x = layers.Conv2D(64, 3, padding="same", use_bias=False, dtype=config.precision)(x)
        x = layers.MaxPooling2D(dtype=config.precision)(x)
        x = layers.BatchNormalization(dtype=config.precision)(x)
        x = layers.ReLU(dtype=config.precision)(x)
    return keras.Model(images, layers.Flatten(dtype="float32", name="features")(x), name="conv4")


def compile_model(model, config):
    """Compiles with Adam and a cosine decay."""
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    model.compile(keras.optimizers.Adam(rate), LOSS, metrics=["accuracy"])


def train(config, arm, seed, data):
    """Trains a method; returns its encoder and the history."""
    keras.utils.set_random_seed(seed)
    model, batches = few_shot(arm, build(config)), min(100, config.steps)
    compile_model(model, config)
    sizes = config.ways, config.shots, config.queries
    stream = kt.streams.episodes(*data, *sizes, batches=batches, rotations=data[0].ndim == 4, seed=seed)
    return model.encoder, model.fit(stream, epochs=config.steps // batches, shuffle=False, verbose=2).history


def train_classifier(config, seed, data):
    """Trains the encoder of the baselines to classify the training classes; returns it and the history."""
    keras.utils.set_random_seed(seed)
    encoder, batches = build(config), min(100, config.steps)
    images, labels = turned(*data)
    model = keras.Sequential([encoder, layers.Dense(int(labels.max()) + 1, dtype="float32")])
    compile_model(model, config)
    rows = config.ways * (config.shots + config.queries)
    draw = np.random.default_rng(seed).permutation(len(labels))
    draw = np.resize(draw, config.steps * rows).reshape(-1, rows)
    history = {}
    for chunk in np.array_split(np.arange(config.steps), max(1, config.steps // batches)):
        index = draw[chunk].ravel()
        logs = model.fit(images[index], labels[index], rows, shuffle=False, verbose=0).history
        history = {name: history.get(name, []) + values for name, values in logs.items()}
    return encoder, history


def few_shot(arm, encoder, ways=None, rate=None):
    """Returns the few-shot model of an arm on an encoder; ways and rate are those of a linear head."""
    if arm in ("prototypical", "simple_shot"):
        return kt.models.PrototypicalNetwork(encoder)
    if arm == "matching":
        return kt.models.MatchingNetwork(encoder)
    if arm in ("nearest_neighbour", "pixels"):
        return kt.models.MatchingNetwork(encoder, temperature=0.01)
    head = [keras.Input(encoder.output_shape[1:]), layers.Dense(ways, kernel_initializer="zeros")]
    model = kt.models.ANIL(encoder, keras.Sequential(head), rate=rate, test_steps=HEAD_STEPS)
    model.compile(loss=LOSS)
    return model


def protocol(config, normalization, seed):
    """Returns what a reader has to know of the data to compare a number; see `kt.report.FewShotReport`."""
    rotations = "none" if config.data == "pacs" else "classes of their own"
    card = {"data": config.data, "rotations": rotations, "batch_norm": normalization, "seed": seed}
    if config.data == "omniglot":
        characters = "trained on too" if config.validation else "not trained on"
        card |= {"split": "Vinyals et al.", "validation_characters": characters}
    return card


def requests(data, sizes, **options):
    """Returns an episode `(support, labels, query)` of each size, ways, shots and queries, to verify an export with."""
    drawn = (next(iter(kt.streams.episodes(*data, *size, batches=1, seed=0, **options))) for size in sizes)
    return [tuple(part[0].numpy() for part in (*x["support"], x["query"])) for x, _ in drawn]


def answered(model, data, **options):
    """Draws a 5-way 1-shot episode with the model's answers."""
    x, y = next(iter(kt.streams.episodes(*data, ways=5, shots=1, queries=6, batches=1, seed=1, **options)))
    answers = np.argmax(model.predict_on_batch(x)["prediction"], -1)[0]
    support, labels, query = (part[0].numpy() for part in (*x["support"], x["query"]))
    return pictures.episode(support, labels, query, y[0].numpy(), answers)


def features(encoder, data):
    """Returns features and labels of all turns: the encoder runs once, as its features do not depend on the episode."""
    return kt.streams.cached_features(encoder, turned(*data), batch_size=512, verbose=False)


def measure(config, arm, seed, data, sizes, rate=None):
    """Measures an arm on episodes of features of classes never seen."""
    identity = keras.Sequential([keras.Input(data[0].shape[1:]), layers.Identity()])
    normalization = "none" if arm == "pixels" or config.data == "pacs" else "moving averages"
    card = protocol(config, normalization, seed)
    card |= {"train_ways": config.ways, "train_shots": config.shots, "steps": config.steps}
    made = functools.cache(lambda ways: few_shot(arm, identity, ways, rate))  # a graph serves many sizes
    reports = []
    for ways, shots, queries, number in sizes:
        episodes = kt.streams.episodes(*data, ways, shots, queries, 10, batches=number // 10, seed=seed)
        model = made(ways if arm == "linear_head" else None)
        reports.append(kt.report.FewShotReport.measure(model, episodes, **card))
    return reports


def main(config):
    """Trains and tests every arm, draws, exports and verifies; returns the record."""
    if config.steps > 100 and config.steps % 100:
        raise ValueError(f"Expected `steps` in hundreds; received {config.steps}.")
    training, validation, test = load(config)
    sizes = [(ways, shots, 15, config.test_episodes) for ways, shots in TESTS[config.data]]
    sizes += [(5, shots, 10, max(20, config.test_episodes // 5)) for shots in SHOTS]
    record = {"config": runs.settings(config)}
    histories, tests, by_shots, kept = {}, {}, {}, None

    def test_arm(arm, seed, encoded, seconds, rate=None):
        count = len(TESTS[config.data])
        asked = sizes if seed == config.seeds[0] else sizes[:count]
        reports = [r.to_dict() for r in measure(config, arm, seed, encoded, asked, rate)]
        tests.setdefault(arm, []).append({"seed": seed, "seconds": seconds, "reports": reports[:count]})
        by_shots.setdefault(arm, [report["accuracy"] for report in reports[count:]])
        if rate:
            tests[arm][-1]["rate"] = rate
        print(f"{arm}, seed {seed}: " + ", ".join(f"{100 * r['accuracy']:.2f} %" for r in reports[:count]), flush=True)

    for seed in config.seeds:
        for arm in config.method:
            start = time.perf_counter()
            encoder, history = train(config, arm, seed, training)
            seconds = time.perf_counter() - start
            test_arm(arm, seed, features(encoder, test), seconds)
            histories.setdefault(arm, []).append(history)
            kept = kept or encoder
        if not config.baselines or (config.data == "pacs" and seed != config.seeds[0]):
            continue  # on the features of a backbone, the baselines train nothing
        start = time.perf_counter()
        if config.data == "pacs":
            encoder = keras.Sequential([keras.Input((1024,)), layers.Identity()])
        else:
            encoder, history = train_classifier(config, seed, training)
            histories.setdefault("classifier", []).append(history)
        seconds = time.perf_counter() - start
        simple = kt.models.simple_shot(encoder, encoder.predict(training[0], batch_size=512, verbose=0)).encoder
        chosen_on = [(5, 5, 15, 200)]
        known, new = (features(simple, data) for data in (validation, test))
        scores = {r: measure(config, "linear_head", seed, known, chosen_on, r)[0].mean for r in RATES}
        test_arm("simple_shot", seed, new, seconds)
        test_arm("nearest_neighbour", seed, features(encoder, test), seconds)
        test_arm("linear_head", seed, new, seconds, max(RATES, key=scores.get))
    if config.data != "pacs":
        flat = [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Flatten()]
        test_arm("pixels", config.seeds[0], features(keras.Sequential(flat), test), 0.0)

    model, images = few_shot(config.method[0], kept), test
    if config.method[0] == "prototypical":
        known = kt.streams.episodes(*validation, ways=5, shots=5, queries=10, batches=100, seed=0)
        record["unknown_distance"] = model.calibrate(known, known=0.95)
    if config.data == "pacs":  # what is served takes images
        images = kt.datasets.pacs(PACS[-1], 128)
        model = few_shot(config.method[0], keras.Sequential([backbone(config), kept]))
        if "unknown_distance" in record:
            model.unknown_distance.assign(record["unknown_distance"])
    version = kt.serving.export_episodes(model, config.saved_models / "learn_episodes", images[0][:8])
    unseen = requests(images, [(*size, 3) for size in UNSEEN[config.data]])
    tolerance = 1e-2 if config.data == "pacs" else 1e-5  # distances of a backbone's features are hundreds
    verified = kt.serving.verify_episodes(version, model, unseen, tolerance)
    record |= {"tests": tests, "shots": SHOTS, "by_shots": by_shots}
    record |= {"export": verified._asdict(), "histories": histories}

    case = f"{config.data}_{config.shots}"
    folder = runs.folder(config, case)
    folder.mkdir(parents=True)
    draw(folder, model, images, record, TESTS[config.data])
    runs.write(record, folder, config, "learn_episodes", case)
    print(f"\nPictures and report: {folder}\nExport: {version}")
    print(f"Largest difference in a fresh process: {max(verified.differences.values()):.1e}")
    return record


def draw(folder, model, images, record, sizes):
    """Draws an episode with its answers, the embedding of a test episode, accuracies, and learning curves."""
    wide, y_wide = next(iter(kt.streams.episodes(*images, ways=7, shots=1, queries=15, batches=1, seed=1)))
    points = model.encoder.predict(wide["query"][0].numpy(), verbose=0)
    accuracies = {
        arm: {
            f"{ways}-way\n{shots}-shot": [run["reports"][i]["accuracy"] for run in trained]
            for i, (ways, shots, *_) in enumerate(sizes)
        }
        for arm, trained in record["tests"].items()
    }
    for name, figure in {
        "episode": answered(model, images),
        "embedding": pictures.classes(points, y_wide[0].numpy()),
        "accuracy": pictures.accuracies(accuracies),
        "shots": pictures.by_shots(record["shots"], record["by_shots"]),
        "curves": pictures.curves(record["histories"]),
    }.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))

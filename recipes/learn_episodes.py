"""Learns to tell classes apart from a few examples of each, tests it on classes never seen, and exports it.

    python -m recipes.learn_episodes
    python -m recipes.learn_episodes --data omniglot --method prototypical --no-baselines --steps 9000 --seeds 0 \\
        --precision mixed_bfloat16

By default nothing is downloaded: trained on Latin, Greek and Cyrillic letters, tested on Armenian and Georgian ones,
in about 15 minutes on two cores. `--data omniglot` reads Omniglot from `KERAS_TRANSFER_DATA` or downloads it (15 MB),
and takes about half an hour for each method and seed.

The baselines: the same encoder, trained to classify the training classes, with SimpleShot on its features; and the
nearest neighbour in pixels. Measured numbers: `results/learn_episodes/<data>_<shots>.json`, shown in the README.
"""

import dataclasses
import datetime
import json
import pathlib
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from recipes import pictures

TRAINING_SCRIPTS, TEST_SCRIPTS = ("latin", "greek", "cyrillic"), ("armenian", "georgian")
TESTS = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "omniglot"] = "glyphs"
    """Classes to train on, and others to test on; each turned by 90, 180 and 270 degrees is another class."""
    method: tuple[Literal["prototypical", "matching"], ...] = ("prototypical", "matching")
    """Methods; the first is exported."""
    baselines: bool = True
    """Whether to train the classifier of the baseline too."""
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
    """Returns images and labels for training, for calibration and for the test: different classes in each."""
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


def turned(x, y):
    """Returns the images turned by 0, 90, 180 and 270 degrees, and a class for each character and turn."""
    images = np.concatenate([np.rot90(x, quarter, axes=(1, 2)) for quarter in range(4)])
    return images, np.concatenate([4 * y + quarter for quarter in range(4)])


def build(config):
    """Returns a new encoder: the field's four convolutions of 64 filters, pooled before they are normalised."""
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
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])


def train(config, arm, seed, data):
    """Trains one arm; returns its few-shot model and the history."""
    keras.utils.set_random_seed(seed)
    (x, y), encoder = data, build(config)
    batches = min(100, config.steps)
    if arm == "simple_shot":
        images, labels = turned(x, y)
        model = keras.Sequential([encoder, layers.Dense(int(labels.max()) + 1, dtype="float32")])
        compile_model(model, config)
        rows = config.ways * (config.shots + config.queries)
        draw = np.random.default_rng(seed).permutation(len(labels))
        draw = np.resize(draw, config.steps * rows).reshape(-1, rows)
        chunks = np.array_split(np.arange(config.steps), max(1, config.steps // batches))
        history = {}
        for chunk in chunks:
            index = draw[chunk].ravel()
            logs = model.fit(images[index], labels[index], rows, shuffle=False, verbose=0).history
            history = {name: history.get(name, []) + values for name, values in logs.items()}
        return kt.models.simple_shot(encoder, encoder.predict(x, batch_size=512, verbose=0)), history
    method = {"prototypical": kt.models.PrototypicalNetwork, "matching": kt.models.MatchingNetwork}[arm]
    model = method(encoder)
    compile_model(model, config)
    stream = kt.streams.episodes(
        x, y, config.ways, config.shots, config.queries, batches=batches, rotations=True, seed=seed
    )
    return model, model.fit(stream, epochs=config.steps // batches, shuffle=False, verbose=2).history


def measure(config, arm, seed, model, data):
    """Measures a model on classes never seen; the encoder runs once: its features do not depend on the episode."""
    x, y = turned(*data)
    features = kt.streams.cached_features(model.encoder, x, batch_size=512, verbose=False)
    identity = keras.Sequential([keras.Input(features.shape[1:]), layers.Identity()])
    on_features = type(model).from_config(
        {**model.get_config(), "encoder": keras.saving.serialize_keras_object(identity)}
    )
    normalization = "none" if arm == "pixels" else "moving averages"
    protocol = {"data": config.data, "rotations": "classes of their own", "batch_norm": normalization, "seed": seed}
    if config.data == "omniglot":
        characters = "trained on too" if config.validation else "not trained on"
        protocol |= {"split": "Vinyals et al.", "validation_characters": characters}
    protocol |= {"train_ways": config.ways, "train_shots": config.shots, "steps": config.steps}
    reports = []
    for ways, shots in TESTS:
        episodes = kt.streams.episodes(
            features, y, ways, shots, 15, episodes_per_batch=10, batches=config.test_episodes // 10, seed=seed
        )
        reports.append(kt.report.FewShotReport.measure(on_features, episodes, **protocol))
        print(f"{arm}, {reports[-1]}", flush=True)
    return reports


def main(config):
    """Trains and tests every arm, draws, exports and verifies; returns the record."""
    if config.steps > 100 and config.steps % 100:
        raise ValueError(f"Expected `steps` in hundreds; received {config.steps}.")
    training, validation, test = load(config)
    arms = (*config.method, "simple_shot") if config.baselines else config.method
    record = {
        "config": {k: v for k, v in dataclasses.asdict(config).items() if k not in ("runs", "saved_models", "results")}
    }
    histories, tests, models = {}, {}, {}
    for arm in (*arms, "pixels"):
        for seed in config.seeds if arm != "pixels" else config.seeds[:1]:
            start = time.perf_counter()
            if arm == "pixels":
                flat = [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Flatten()]
                model, history = kt.models.MatchingNetwork(keras.Sequential(flat), temperature=0.01), {}
            else:
                model, history = train(config, arm, seed, training)
            seconds = time.perf_counter() - start
            reports = [r.to_dict() for r in measure(config, arm, seed, model, test)]
            tests.setdefault(arm, []).append({"seed": seed, "seconds": seconds, "reports": reports})
            models.setdefault(arm, model)
            if history:
                histories.setdefault(arm, []).append(history)

    model = models[config.method[0]]
    if config.method[0] == "prototypical":
        known = kt.streams.episodes(*validation, ways=5, shots=5, queries=10, batches=100, seed=0)
        record["unknown_distance"] = model.calibrate(known, known=0.95)
    version = kt.serving.export_episodes(model, config.saved_models / "learn_episodes", test[0][:8])
    unseen = [next(iter(kt.streams.episodes(*test, *size, 3, batches=1, seed=0))) for size in ((3, 2), (7, 1), (10, 4))]
    unseen = [tuple(part[0].numpy() for part in (*x["support"], x["query"])) for x, _ in unseen]
    verified = kt.serving.verify_episodes(version, model, unseen)
    record |= {"tests": tests, "export": verified._asdict(), "histories": histories}

    case = f"{config.data}_{config.shots}"
    folder = config.runs / f"{case}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True)
    draw(folder, model, test, tests, histories)
    text = (json.dumps(record, indent=1) + "\n").encode()
    copy = [] if config.results is None else [config.results / "learn_episodes" / f"{case}.json"]
    for path in (folder / "report.json", *copy):
        kt.report.write_whole(path, text)
    print(f"\nPictures and report: {folder}\nExport: {version}")
    print(f"Largest difference in a fresh process: {max(verified.differences.values()):.1e}")
    return record


def draw(folder, model, test, tests, histories):
    """Draws an episode with its answers, the embedding of a test episode, accuracies, and learning curves."""
    x, y = next(iter(kt.streams.episodes(*test, ways=5, shots=1, queries=6, batches=1, seed=1)))
    answers = np.argmax(model.predict_on_batch(x)["prediction"], -1)[0]
    (support, labels), query = x["support"], x["query"][0].numpy()
    wide, y_wide = next(iter(kt.streams.episodes(*test, ways=8, shots=1, queries=15, batches=1, seed=1)))
    features = model.encoder.predict(wide["query"][0].numpy(), verbose=0)
    accuracies = {
        arm: {size: [run["reports"][i]["accuracy"] for run in runs] for i, size in enumerate(TESTS)}
        for arm, runs in tests.items()
    }
    for name, figure in {
        "episode": pictures.episode(support[0].numpy(), labels[0].numpy(), query, y[0].numpy(), answers),
        "embedding": pictures.classes(features, y_wide[0].numpy()),
        "accuracy": pictures.few_shot(accuracies),
        "curves": pictures.curves(histories),
    }.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))

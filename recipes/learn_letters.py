"""Learns to tell letters apart from one example of each, tests it on alphabets never seen, and exports it.

    python -m keras_transfer.recipes.learn_letters

Nothing is downloaded: a prototypical network learns from episodes of Latin, Greek and Cyrillic letters, and is tested
on Armenian and Georgian ones. The baseline is SimpleShot: the same encoder, trained to classify the training letters,
and the nearest mean of its features. About 6 minutes on two cores.

Omniglot, PACS, matching networks and further baselines: `recipes/studies/learn_episodes.py`, whose measured numbers
are in `results/learn_episodes/`.
"""

import dataclasses
import functools
import pathlib
import time

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import episodes, pictures, runs

SIZES = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots of the test
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of both arms for each."""
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
    test_episodes: int = 1000
    """Test episodes of each size, of 15 queries for each class."""
    runs: pathlib.Path = pathlib.Path("runs/learn_letters")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_letters/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/learn_letters/letters.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def build(precision="float32"):
    """Returns a new encoder: the field's four convolutions of 64 filters, pooled before they are normalised."""
    x = images = keras.Input((28, 28, 1), name="images")
    x = layers.Rescaling(1 / 255, dtype="float32")(x)
    for _ in range(4):
        x = layers.Conv2D(64, 3, padding="same", use_bias=False, dtype=precision)(x)
        x = layers.MaxPooling2D(dtype=precision)(x)
        x = layers.BatchNormalization(dtype=precision)(x)
        x = layers.ReLU(dtype=precision)(x)
    return keras.Model(images, layers.Flatten(dtype="float32", name="features")(x), name="conv4")


def compile_model(model, config):
    """Compiles with Adam and a cosine decay."""
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    model.compile(keras.optimizers.Adam(rate), LOSS, metrics=["accuracy"])


def train(config, seed, data, make=kt.models.PrototypicalNetwork, new=build):
    """Trains a method on episodes; returns its encoder and the history."""
    keras.utils.set_random_seed(seed)
    encoder, batches = new(), min(100, config.steps)
    model = make(encoder)
    compile_model(model, config)
    sizes = config.ways, config.shots, config.queries
    stream = kt.streams.episodes(*data, *sizes, batches=batches, rotations=data[0].ndim == 4, seed=seed)
    return encoder, model.fit(stream, epochs=config.steps // batches, shuffle=False, verbose=2).history


def train_classifier(config, seed, data, new=build):
    """Trains the encoder of the baseline to classify the training classes; returns it and the history."""
    keras.utils.set_random_seed(seed)
    encoder, batches = new(), min(100, config.steps)
    images, labels = episodes.turned(*data)
    model = keras.Sequential([encoder, layers.Dense(int(labels.max()) + 1, dtype="float32")])
    compile_model(model, config)
    rows = config.ways * (config.shots + config.queries)
    draw = np.random.default_rng(seed).permutation(len(labels))
    draw = np.resize(draw, config.steps * rows).reshape(-1, rows)
    history = {}
    for chunk in np.array_split(np.arange(config.steps), max(1, config.steps // batches)):
        index = draw[chunk].ravel()
        logs = model.fit(images[index], labels[index], rows, shuffle=False, verbose=2).history
        history = {name: history.get(name, []) + values for name, values in logs.items()}
    return encoder, history


def features(encoder, data):
    """Returns features and labels of all turns: the encoder runs once, as its features do not depend on the episode."""
    return kt.backbones.cached_features(encoder, episodes.turned(*data), batch_size=512, verbose=False)


def measure(config, seed, data, card, make=kt.models.PrototypicalNetwork):
    """Measures a method on episodes of features of classes never seen; returns a report for each of `SIZES`."""
    model, reports = make(keras.Sequential([keras.Input(data[0].shape[1:]), layers.Identity()])), []
    for ways, shots in SIZES:
        batches = config.test_episodes // 10
        test = kt.streams.episodes(*data, ways, shots, 15, 10, batches=batches, seed=seed)
        reports.append(kt.report.FewShotReport.measure(model, test, **card))
    return reports


def main(config):
    """Trains and tests both arms, draws, exports and verifies; returns the record."""
    if config.steps > 100 and config.steps % 100:
        raise ValueError(f"Expected `steps` in hundreds; received {config.steps}.")
    run, (training, validation, test) = runs.Run(config, "learn_letters", "letters"), episodes.load()
    tests, histories, kept = {"prototypical": [], "simple_shot": []}, {}, None

    def part(arm, seed):
        start, networks = time.perf_counter(), {}
        if arm == "prototypical":
            encoder, history = train(config, seed, training)
            networks = {"encoder": encoder} if seed == config.seeds[0] else {}
        else:
            encoder, history = train_classifier(config, seed, training)
            plain = encoder.predict(training[0], batch_size=512, verbose=0)
            encoder = kt.models.simple_shot(encoder, plain)  # on plain inputs, features
        seconds = time.perf_counter() - start
        card = {"data": "glyphs", "rotations": "classes of their own", "seed": seed}
        reports = measure(config, seed, features(encoder, test), card)
        print(f"{arm}, seed {seed}", *reports, sep="\n", flush=True)
        test_of_seed = {"seed": seed, "seconds": seconds, "reports": [report.to_dict() for report in reports]}
        return {"test": test_of_seed, "history": history}, networks

    for seed in config.seeds:
        for arm in tests:
            found, networks = run.part(f"{arm}, seed {seed}", functools.partial(part, arm, seed), seed)
            histories.setdefault(arm, []).append(found["history"])
            tests[arm].append(found["test"])
            kept = kept or (kt.models.PrototypicalNetwork(networks["encoder"]) if networks else None)

    known = kt.streams.episodes(*validation, ways=5, shots=5, queries=10, batches=100, seed=0)
    record = {"unknown_distance": kept.calibrate(known, known=0.95), "tests": tests, "histories": histories}
    wide, labels = next(iter(kt.streams.episodes(*test, ways=7, shots=1, queries=15, batches=1, seed=1)))
    figures = {
        "episode": episodes.answered(kept, test),
        "embedding": pictures.classes(kept.predict(wide["query"][0].numpy(), verbose=0), labels[0].numpy()),
        "accuracy": episodes.accuracies(tests, SIZES),
        "curves": pictures.curves(histories),
    }
    unseen = episodes.requests(test, [(3, 2, 3), (7, 1, 3), (10, 4, 3)])  # any way, any shot
    return run.finish(record, figures, model=kept, x=test[0][:8], requests=unseen)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Compares ways to learn weights that a few gradient steps on a few examples adapt to new classes.

    python -m keras_transfer.recipes.studies.learn_to_adapt
    python -m keras_transfer.recipes.studies.learn_to_adapt --data omniglot --method maml --steps 50000 --seeds 0

By default nothing is downloaded: the letters of `recipes/maml_letters.py`, in about 4 minutes on two cores for each
seed. `--data omniglot` reads Omniglot from `KERAS_TRANSFER_DATA` or downloads it (15 MB), and takes up to an hour with
one busy thread.

Measured numbers: `results/learn_to_adapt/<data>_<method>.json`, shown beside those of
`recipes/studies/learn_episodes.py`, whose letters, characters and baselines these are.
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
from keras_transfer.recipes import episodes, maml_letters, pictures, runs
from keras_transfer.recipes.studies import learn_episodes


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "omniglot"] = "glyphs"
    """Classes to train on, and others to test on; each turned by 90, 180 and 270 degrees is another class."""
    method: Literal["maml", "fomaml", "anil", "reptile"] = "maml"
    """The method to train; "fomaml" is MAML of first order."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training for each."""
    steps: int = 4000
    """Training steps; more than 500 in five hundreds."""
    ways: int = 5
    """Classes of an episode."""
    shots: int = 1
    """Examples of each class, in the test too; Reptile trains with 10."""
    queries: int = 5
    """Queries of each class in a training episode."""
    tasks: int = 4
    """Episodes in a training step."""
    inner_steps: int = 1
    """Gradient steps of the inner loop; Reptile takes 5, and 50 in the test."""
    inner_rate: float = 0.4
    """The rate at which the learned rates of MAML begin, and that of ANIL's head; Reptile takes 0.001 with Adam."""
    learning_rate: float = 3e-3
    """The learning rate of Adam at the start of a cosine decay to 0; Reptile's meta step goes from 1 to 0."""
    statistics: Literal["support", "batch"] = "support"
    """Whose statistics normalise the queries of MAML and Reptile; "batch" is transductive."""
    validation: bool = False
    """Whether Omniglot's 172 validation characters train too, after all choices were made."""
    mirrored: bool = False
    """Whether mirrored characters are further training classes, as turned ones are; the test has none."""
    jitter: bool = False
    """Whether each training image is shifted by up to a pixel and scaled by up to 6 %; the test's are not."""
    test_episodes: int = 1000
    """Test episodes, of 15 queries for each class."""
    runs: pathlib.Path = pathlib.Path("runs/learn_to_adapt")
    """Folder in which each run makes a folder with its report, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_to_adapt/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/learn_to_adapt/<data>_<method>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def build(config):
    """Returns a new compiled model."""
    encoder, head = maml_letters.networks(config.ways)
    network = keras.Model(encoder.input, head(encoder.output))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps))
    if config.method == "anil":
        model = kt.models.ANIL(encoder, head, config.inner_steps, config.inner_rate)
    elif config.method == "reptile":
        model = kt.models.Reptile(network, statistics=config.statistics)
        meta_step = keras.optimizers.schedules.PolynomialDecay(1.0, config.steps, end_learning_rate=0.0)
        optimizer = keras.optimizers.SGD(meta_step)
    else:
        model = kt.models.MAML(
            network,
            config.inner_steps,
            config.inner_rate,
            first_order=config.method == "fomaml",
            learn_rates=True,
            statistics=config.statistics,
        )
    model.compile(optimizer, maml_letters.LOSS, metrics=["accuracy"])
    return model


def train(config, seed, data):
    """Trains one model; returns it and the history."""
    x, y = data
    if config.mirrored:
        x, y = np.concatenate([x, x[:, :, ::-1]]), np.concatenate([y, y + 1 + y.max()])
    options = {"shots": 10, "queries": 1} if config.method == "reptile" else {}
    options |= {"change": jittered} if config.jitter else {}
    return maml_letters.train(config, seed, (x, y), build, **options)


def jittered(stream):
    """Shifts and scales each image of the episodes a little."""
    crop = keras.Sequential(
        [layers.ZeroPadding2D(1), kt.layers.RandomResizedCrop(28, 28, scale=(0.77, 0.98), ratio=(0.94, 1.06))]
    )

    def change(images):
        return keras.ops.reshape(crop(keras.ops.reshape(images, (-1, *images.shape[2:]))), images.shape)

    def each(x, y):
        (support, labels), query = x["support"], x["query"]
        return {"support": (change(support), labels), "query": change(query)}, y

    return kt.streams.prefetched(stream.map(each))


def measure(config, seed, model, data):
    """Measures a model on classes never seen."""
    transductive = config.statistics == "batch" and config.method != "anil"
    normalization = "moving averages" if config.method == "anil" else config.statistics
    card = learn_episodes.protocol(config, normalization, seed)
    card |= {"train_mirrored": config.mirrored, "train_jitter": config.jitter}
    card |= {"steps": config.steps, "tasks": config.tasks}
    report = maml_letters.measure(config, seed, model, data, card, transductive)
    print(f"{config.method}, {report}", flush=True)
    return report


def main(config):
    """Trains and tests, draws, exports and verifies; returns the record."""
    if config.steps > 500 and config.steps % 500:
        raise ValueError(f"Expected `steps` in five hundreds if more than that; received {config.steps}.")
    run = runs.Run(config, "learn_to_adapt", f"{config.data}_{config.method}")
    training, _, test = learn_episodes.load(config)
    histories, tests, kept = [], [], None

    def part(seed):
        start = time.perf_counter()
        model, history = train(config, seed, training)
        seconds = time.perf_counter() - start
        report = measure(config, seed, model, test).to_dict()
        found = {"test": {"seed": seed, "seconds": seconds, "reports": [report]}, "history": history}
        return found, {"model": model} if seed == config.seeds[0] else {}

    for seed in config.seeds:
        found, networks = run.part(f"{config.method}, seed {seed}", functools.partial(part, seed), seed)
        tests.append(found["test"])
        histories.append(found["history"])
        kept = kept or networks["model"]

    record = {"tests": {config.method: tests}, "histories": {config.method: histories}}
    figures = {
        "episode": episodes.answered(kept, test, rotations=True),
        "curves": pictures.curves(record["histories"]),
    }
    export = {
        "x": test[0][:8],
        "outputs": "logits",
        "requests": episodes.requests(test, [(config.ways, shots, 3 + shots) for shots in (1, 2, 5)], rotations=True),
        # Adam divides by the gradient's size: where a gradient is about zero, rounding decides, 50 times.
        "tolerance": 0.05 if config.method == "reptile" else 1e-4,
        "metrics": tests[0]["reports"][0],
    }
    return run.finish(record, figures, model=kept, **export)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

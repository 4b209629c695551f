"""Learns several questions about texts in one network, each labelled in other texts; exports strings to all answers.

    python -m keras_transfer.recipes.several_text_tasks

Sentiment of sentences, emotion and irony of tweets, and the kind of a question: four data sets, of which each text has
one label, on the features of all-MiniLM-L6-v2 (extra `text`), which runs once. Reads `KERAS_TRANSFER_DATA`; about eight
minutes on one core, most of it that. Measured numbers: `results/several_text_tasks/texts.json`.

`regression` and `single` are a model for each task: a logistic regression with the penalty that cross-validation
chooses, and a network of two layers. `shared` is one such network with a head for each task, `experts` one with experts
that each task weighs (`kt.models.MixtureOfExperts`); both have as many steps as the networks of all single tasks
together have. As many labels of each task, drawn by the seed, train; test splits test.
"""

import dataclasses
import functools
import pathlib
import time

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import own_texts, pictures, runs

TASKS = {
    "sentiment": kt.datasets.SST_CLASSES[2],
    "emotion": kt.datasets.TWEET_CLASSES["emotion"],
    "irony": kt.datasets.TWEET_CLASSES["irony"],
    "question": kt.datasets.TREC_COARSE,
}
DATA = {"sentiment": "sst2", "emotion": "emotion", "question": "trec"}
EXPERTS = 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    labels: int = 1000
    """Labelled texts of each task."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One draw of the labels and one training of every arm for each; at least two, for an interval."""
    length: int = 64
    """Tokens of a text; what follows is cut off."""
    units: int = 256
    """Width of the hidden layers."""
    steps: int = 300
    """Training steps for each task."""
    batch_size: int = 64
    """Texts in a step."""
    learning_rate: float = 1e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    runs: pathlib.Path = pathlib.Path("runs/several_text_tasks")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/several_text_tasks/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/several_text_tasks/texts.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{task: {"train": (texts, labels), "test": (texts, labels)}}`."""
    data = {task: own_texts.load(name)[0] for task, name in DATA.items()}
    data["irony"] = {split: kt.datasets.tweet_eval("irony", split) for split in ("train", "test")}
    return {task: data[task] for task in TASKS}


def embed(encoder, data):
    """Returns the data with features in the place of the texts."""
    return {
        task: {split: (encoder.predict(x, batch_size=64, verbose=0), y) for split, (x, y) in of.items()}
        for task, of in data.items()
    }


def hidden(config, dim):
    """Returns a new network from features to what heads read."""
    parts = [layers.Dense(config.units, activation="relu"), layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((dim,)), *parts, layers.Dense(config.units, activation="relu")])


def build(config, arm, dim, tasks):
    """Returns a new model of some tasks."""
    heads = {task: keras.Sequential([keras.Input((config.units,)), layers.Dense(len(TASKS[task]))]) for task in tasks}
    if arm == "experts":
        return kt.models.MixtureOfExperts(
            keras.layers.Identity(), [hidden(config, dim) for _ in range(EXPERTS)], heads, missing=-1
        )
    if arm == "shared":
        return kt.models.SharedEncoder(hidden(config, dim), heads, missing=-1)
    return keras.Sequential([hidden(config, dim), *heads.values()])


def train(config, arm, seed, rows, tasks):
    """Trains a model of some tasks on their rows, `{task: (features, labels)}`."""
    keras.utils.set_random_seed(seed)
    x = np.concatenate([rows[task][0] for task in tasks])
    whole = np.repeat(np.arange(len(tasks)), [len(rows[task][1]) for task in tasks])
    y = {task: np.full(len(x), -1, "int32") for task in tasks}
    for place, task in enumerate(tasks):
        y[task][whole == place] = rows[task][1]
    model, steps = build(config, arm, x.shape[1], tasks), config.steps * len(tasks)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)), loss)
    labels = y if arm != "single" else y[tasks[0]]
    epochs = max(1, round(steps * config.batch_size / len(x)))
    model.fit(x, labels, batch_size=config.batch_size, epochs=epochs, verbose=0)
    return model


def learn(config, arm, seed, data):
    """Trains an arm on a draw; returns `{task: accuracy}`, and its model where it is one of all tasks."""
    rows, start = {}, time.perf_counter()
    for task, of in data.items():
        places = np.random.default_rng(seed).permutation(len(of["train"][1]))[: config.labels]
        rows[task] = of["train"][0][places], of["train"][1][places]
    found, model, together = {}, None, arm in ("shared", "experts")
    if together:
        model = train(config, arm, seed, rows, list(rows))
    for task, of in data.items():
        x, y = of["test"]
        if arm == "regression":
            found[task] = float(kt.metrics.tuned_probe(*rows[task])[0].score(x, y))
            continue
        one = model if together else train(config, arm, seed, rows, [task])
        answers = one.predict(x, batch_size=512, verbose=0)
        found[task] = float(((answers[task] if together else answers).argmax(-1) == y).mean())
    kept = {"model": model} if arm == "shared" and seed == config.seeds[0] else {}
    return {"accuracy": found, "seconds": time.perf_counter() - start}, kept


def main(config):
    """Runs every arm on every draw, reports, draws, exports and verifies; returns the record."""
    if len(config.seeds) < 2:
        raise ValueError(f"Expected at least 2 seeds, for an interval; received {config.seeds}.")
    run, data = runs.Run(config, "several_text_tasks", "texts"), load(config)
    encoder = kt.backbones.minilm(config.length)
    features, metrics, model = embed(encoder, data), {}, None
    for seed in config.seeds:
        for arm in ("regression", "single", "shared", "experts"):
            compute = functools.partial(learn, config, arm, seed, features)
            found, networks = run.part(f"{arm}, seed {seed}", compute, seed)
            model = networks.get("model", model)
            for task, accuracy in found["accuracy"].items():
                one = {"accuracy": accuracy, "seconds": found["seconds"]}
                metrics.setdefault(task, {}).setdefault(arm, {})[seed] = one
            print(f"seed {seed}, {arm}: {found}", flush=True)
    reports = {task: kt.report.TransferReport(of, ["regression", "single"], "accuracy") for task, of in metrics.items()}
    record = {"reports": {task: report.to_dict() for task, report in reports.items()}}
    text = "\n\n".join(f"{task}\n{report}" for task, report in reports.items())
    arms = next(iter(metrics.values()))
    shown = {arm: {task: [one["accuracy"] for one in of[arm].values()] for task, of in metrics.items()} for arm in arms}
    figures = {"accuracy": pictures.accuracies(shown), **{task: report.draw() for task, report in reports.items()}}
    text_input = keras.Input((), dtype="string", name="text")
    served = keras.Model(text_input, model(encoder(text_input)))
    x = next(iter(data.values()))["test"][0][:16]
    classes = {task: list(names) for task, names in TASKS.items()}
    return run.finish(record, figures, text, served, x, classes=classes, tolerance=1e-4)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

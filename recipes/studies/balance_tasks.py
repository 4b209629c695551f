"""Compares weightings on two tasks in one encoder, where one drowns the other and where none does.

    python -m keras_transfer.recipes.studies.balance_tasks
    python -m keras_transfer.recipes.studies.balance_tasks --pair scaled

Images of two garments, made of Fashion-MNIST, which `keras.datasets` downloads once (30 MB). Pairs of tasks:
- `plain`: the left and the right garment, which are alike.
- `scaled`: the same, the right loss times 100.
- `reconstruction`: the left garment, and the image itself by the sum of squares over its pixels, through 16 features.

The score is the mean over the tasks of the relative change against a model of that task alone, in %: of accuracy, or
of the squared error, where less is better. The encoder is a LeNet. All arms take the same number of steps of Adam, and
choose their rate on 2,000 images that none trains with, on the first seed. A pair takes about 15 minutes on one core;
the README shows what came of it.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs
from keras_transfer.recipes.studies import train_tasks

TASKS = {"plain": ("left", "right"), "scaled": ("left", "right"), "reconstruction": ("left", "image")}
STEPS = {"plain": 400, "scaled": 400, "reconstruction": 312}
WEIGHTINGS = {name: lambda tasks, make=make: make() for name, make in train_tasks.WEIGHTINGS.items()}
WEIGHTINGS["uncertainty"] = lambda tasks: kt.weightings.Uncertainty(
    regression=set(tasks) & {"image"}, rate=10.0, from_first_losses=True
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    pair: Literal[tuple(TASKS)] = "reconstruction"
    """The two tasks."""
    weightings: tuple[Literal[tuple(WEIGHTINGS)], ...] = tuple(WEIGHTINGS)
    """Weightings to compare; equal weights are the baseline."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One training of every arm for each."""
    images: int = 60_000
    """Images, at most 60,000, of which 2,000 choose the rates."""
    steps: int | None = None
    """Training steps; by default 400, of `reconstruction` 312."""
    batch_size: int = 256
    """Images in a batch."""
    rates: tuple[float, ...] = (1e-3, 2e-3)
    """Learning rates of Adam to choose from."""
    runs: pathlib.Path = pathlib.Path("runs/balance_tasks")
    """Folder in which each run makes a folder with its report and pictures."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/balance_tasks/<pair>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{part: images}` and `{part: {task: labels}}`; the labels of `image` are its pixels `(n, 1296)`."""
    x, y, _ = train_tasks.load(train_tasks.Config(data="multi_fashion", images=config.images))
    for part, labels in y.items():
        labels["image"] = x[part].reshape(len(x[part]), -1)
    return x, {part: {task: labels[task] for task in TASKS[config.pair]} for part, labels in y.items()}


def loss(config, task):
    """Returns the loss of a task, a function of a batch of labels and predictions to one value for each row."""
    if task == "image":
        return lambda y, output: ops.sum(ops.square(ops.cast(y, output.dtype) / 255 - output), axis=-1)
    scale = 100.0 if (config.pair, task) == ("scaled", "right") else 1.0
    return lambda y, logits: scale * keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)


def build(config, tasks, weighting):
    """Returns a new model of one task or two."""
    units = 16 if config.pair == "reconstruction" else 50
    parts = [layers.Rescaling(1 / 255)]
    for filters in (10, 20):
        parts += [layers.Conv2D(filters, 5, activation="relu"), layers.MaxPooling2D()]
    encoder = keras.Sequential([*parts, layers.Flatten(), layers.Dense(units, activation="relu")])
    heads = {task: layers.Dense(10) for task in tasks}
    if "image" in tasks:
        heads["image"] = keras.Sequential([layers.Dense(128, activation="relu"), layers.Dense(36 * 36)])
    if len(tasks) > 1:
        return kt.models.SharedEncoder(encoder, heads, WEIGHTINGS[weighting](tasks))
    return keras.Sequential([encoder, *heads.values()])


def train(config, seed, rate, tasks, weighting, x, y):
    """Trains a model of some tasks; returns it, its history and the seconds."""
    keras.utils.set_random_seed(seed)
    model, single = build(config, tasks, weighting), len(tasks) == 1
    labels = y[tasks[0]] if single else {task: y[task] for task in tasks}
    rows = tf.data.Dataset.from_tensor_slices((x, labels)).shuffle(len(x), seed=seed).repeat()
    stream = kt.streams.prefetched(rows.batch(config.batch_size, drop_remainder=True))
    losses = {task: loss(config, task) for task in tasks}
    model.compile(keras.optimizers.Adam(rate), losses[tasks[0]] if single else losses)
    steps = config.steps or STEPS[config.pair]
    watch = [] if single else [kt.callbacks.TaskMonitor()]
    parts = min(10, max(1, steps // 2))  # epochs, the points of the curves
    watch += [runs.progress(f"{weighting}, seed {seed}, rate {rate}", parts)]
    start = time.perf_counter()
    fitted = model.fit(stream, epochs=parts, steps_per_epoch=steps // parts, shuffle=False, verbose=0, callbacks=watch)
    return model, fitted.history, time.perf_counter() - start


def measure(model, tasks, x, y):
    """Returns each task's accuracy, or of `image` its mean squared error."""
    outputs = model.predict(x, batch_size=500, verbose=0)
    outputs = outputs if isinstance(outputs, dict) else {tasks[0]: outputs}
    found = {}
    for task in tasks:
        if task == "image":
            found[task] = float(np.mean(np.square(y[task] / np.float32(255) - outputs[task])))
        else:
            found[task] = float(np.mean(outputs[task].argmax(-1) == y[task]))
    return found


def change(found, single):
    """Returns the mean over the tasks of the relative change against the single-task models, in %."""
    parts = [(found[task] / alone - 1) * (-1 if task == "image" else 1) for task, alone in single.items()]
    return 100 * float(np.mean(parts))


def main(config):
    """Trains all arms, compares and draws; returns the record."""
    run, (x, y) = runs.Run(config, "balance_tasks", config.pair), load(config)
    tasks = TASKS[config.pair]
    arms = {**{f"single_{task}": (task,) for task in tasks}, **dict.fromkeys(config.weightings, tasks)}
    rates, known, tests, seconds, histories = {}, {}, {}, {arm: {} for arm in arms}, {}

    def part(arm, seed):
        trained, asked = {}, arms[arm]
        for rate in (rates[arm],) if arm in rates else config.rates:
            model, history, took = train(config, seed, rate, asked, arm, x["train"], y["train"])
            held = {} if arm in rates else measure(model, asked, x["validation"], y["validation"])
            trained[rate] = held, model, history, took
        rate = rates.get(arm)
        if rate is None:
            alone = {task: known.get(task, 1.0) for task in asked}
            rate = max(trained, key=lambda rate: change(trained[rate][0], alone))
        held, model, history, took = trained[rate]
        found = {"rate": rate, "held": held, "test": measure(model, asked, x["test"], y["test"])}
        return {**found, "history": history, "seconds": took}, {}

    for seed in config.seeds:
        single = {}
        for arm, asked in arms.items():
            found, _ = run.part(f"{arm}, seed {seed}", functools.partial(part, arm, seed), seed)
            rates[arm], test, seconds[arm][seed] = found["rate"], found["test"], found["seconds"]
            if len(asked) == 1:
                single |= test
                known |= found["held"]
            else:
                test["change"] = change(test, single)
                histories.setdefault(arm, []).append(found["history"])
            tests.setdefault(arm, {})[seed] = test
            print(f"seed {seed}, {arm}: {test}, rate {rates[arm]}, {seconds[arm][seed]:.0f} s", flush=True)
    report = None
    if len(config.seeds) > 1 and "equal" in config.weightings and len(config.weightings) > 1:
        report = kt.report.TransferReport({arm: tests[arm] for arm in config.weightings}, "equal", "change", margin=1.0)
    record = {
        "tests": tests,
        "report": report and report.to_dict(),
        "rates": rates,
        "seconds": seconds,
        "histories": histories,
    }
    figures = {"curves": pictures.curves(histories)} | ({} if report is None else {"report": report.draw()})
    return run.finish(record, figures, str(report or ""))


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

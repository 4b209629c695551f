"""Learns tasks one after another with every method of continual learning, beside what each is compared with.

    python -m keras_transfer.recipes.learn_tasks --data mnist --scenario class

Ten digits as five tasks of two. `class`: which of all classes a row is, when all tasks have been seen (what most users
want); `task`: it is known at request time which task a row belongs to; `domain`: the question is the same in each task,
is it the first or the second digit of its pair; `permuted`: ten tasks of ten digits, each with the pixels in another
order. By default nothing is needed: digits in the fonts of matplotlib, in about 12 minutes on one core. Measured
numbers: `results/learn_tasks/<data>_<scenario>.json`.

Baselines: `naive` trains on, `lower_rate` does so at a tenth of the rate, `interpolation` then takes the mean of the
weights before and after each task (WiSE-FT), `l2` pulls weights to where the last task left them. What they are held
against: `joint` has all data at once, in as many steps; `cumulative` goes on with all data so far. `replay` and what
stands below it keep as many rows of each class as `--per-class` says. Strengths were found on a seed that is not
reported (`results/learn_tasks/selection.json`) and are `STRENGTHS` below.
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
from keras_transfer.recipes import pictures, runs

PAIRS = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
BASELINES = ("naive", "lower_rate", "interpolation", "l2")
UPPER = ("joint", "cumulative")
REPLAYED = ("replay", "agem", "derpp", "icarl")
METHODS = ("ewc", "si", "mas", "lwf", *REPLAYED, "gdumb")
STRENGTHS = {
    "class": {"l2": 1.0, "ewc": 1e9, "si": 1e5, "mas": 1e2, "lwf": 1.0, "replay": 4.0, "derpp": 0.5, "icarl": 1.0},
    "task": {"l2": 0.01, "ewc": 1e4, "si": 1e2, "mas": 0.3, "lwf": 0.5, "replay": 1.0, "derpp": 0.5},
    "domain": {"l2": 1.0, "ewc": 1e9, "si": 1e4, "mas": 1e2, "lwf": 1.5, "replay": 3.0, "derpp": 0.5},
    "permuted": {"l2": 0.01, "ewc": 1e1, "si": 1e1, "mas": 1e-2, "lwf": 1.0, "replay": 1.0, "derpp": 0.5},
}
RATES = {("class", "replay"): 0.3}  # what the learning rate is multiplied by


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "mnist", "fashion_mnist"] = "glyphs"
    """Ten classes: digits in many fonts, MNIST, or articles of clothing."""
    scenario: Literal["class", "task", "domain", "permuted"] = "class"
    """What a task is, and what is known when a row is told."""
    method: tuple[Literal[(*BASELINES, *UPPER, *METHODS)], ...] = (*BASELINES, *UPPER, *METHODS)
    """What is trained; `icarl` where the scenario is `class`."""
    strength: float | None = None
    """The weight of what holds former tasks, of all methods that have one; by default `STRENGTHS`."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One training of every arm for each; at least two, for an interval."""
    steps: int = 250
    """Training steps on each task."""
    batch_size: int = 128
    """Rows of the task in a step, and as many of the buffer where there is one."""
    per_class: int = 100
    """Rows of each class that are kept by what keeps rows; of each class and task where tasks have the same classes."""
    information_rows: int = 2000
    """Rows of each task, at most, by which `ewc` and `mas` measure what it depends on."""
    units: int = 400
    """Units of each of the two hidden layers."""
    learning_rate: float = 1e-3
    """The learning rate of Adam, whose state goes on from task to task."""
    runs: pathlib.Path = pathlib.Path("runs/learn_tasks")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/learn_tasks/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/learn_tasks/<data>_<scenario>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `(x, y)` to train and to test, x as rows of numbers from 0 to 1."""
    if config.data == "glyphs":
        found = [kt.datasets.printed_digits(n, seed=seed) for seed, n in enumerate((20_000, 4_000))]
    elif config.data == "mnist":
        found = [kt.datasets.mnist(split) for split in ("train", "test")]
    else:
        found = keras.datasets.fashion_mnist.load_data()
    return [(x.reshape(len(x), -1).astype("float32") / 255, y.astype("int32")) for x, y in found]


def split(config, data):
    """Returns the tasks of a scenario, a list of `(x, y)`."""
    if config.scenario == "permuted":
        return kt.streams.permutations(*data, number=10)
    return kt.streams.tasks(*data, PAIRS, relabel=config.scenario == "domain")


def build(config, dim):
    """Returns a new encoder and head."""
    hidden = [layers.Dense(config.units, activation="relu") for _ in range(2)]
    encoder = keras.Sequential([keras.Input((dim,)), *hidden], name="encoder")
    head = keras.Sequential([keras.Input((config.units,)), layers.Dense(2 if config.scenario == "domain" else 10)])
    return encoder, head


def buffer(config, arm, dim, classes, number):
    """Returns the buffer of an arm that learns a number of tasks, None where it keeps no rows."""
    if arm not in (*REPLAYED, "gdumb"):
        return None
    repeated = number if config.scenario in ("domain", "permuted") else 1
    return kt.layers.ReplayBuffer(config.per_class * classes * repeated, (dim,), classes, logits=arm == "derpp")


def make(config, arm, encoder, head, memory):
    """Returns the model of an arm, with a buffer where it keeps rows."""
    m, tasks = kt.models, PAIRS if config.scenario == "task" else None
    strength = STRENGTHS[config.scenario].get(arm) if config.strength is None else config.strength
    made = {
        "ewc": lambda: m.EWC(encoder, head, strength, tasks=tasks),
        "si": lambda: m.SynapticIntelligence(encoder, head, strength, tasks=tasks),
        "mas": lambda: m.MAS(encoder, head, strength, tasks=tasks),
        "lwf": lambda: m.LwF(encoder, head, strength, tasks=tasks),
        "replay": lambda: m.ExperienceReplay(encoder, head, memory, strength, tasks=tasks),
        "agem": lambda: m.AGEM(encoder, head, memory, tasks=tasks),
        "derpp": lambda: m.DERpp(encoder, head, memory, strength, strength, tasks=tasks),
        "icarl": lambda: m.ICaRL(encoder, head, memory, strength),
        "gdumb": lambda: m.GDumb(encoder, head, memory, tasks=tasks),
        "l2": lambda: m.L2SP(encoder, head, strength, head_weight=0.0),
    }
    return made.get(arm, lambda: keras.Sequential([encoder, head]))()


def compiled(config, model, rate, optimizer=None):
    """Compiles a model, with an optimizer that it goes on with or a new one; returns it."""
    if config.scenario == "task":
        loss, metric = kt.losses.TaskCrossentropy(PAIRS), kt.metrics.TaskAccuracy(PAIRS)
    else:
        loss, metric = keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
    model.compile(optimizer or keras.optimizers.Adam(rate), loss, metrics=[metric])
    return model


def learn(config, arm, seed, tasks, tests):
    """Trains an arm on all tasks in their order; returns what was found, and its model."""
    keras.utils.set_random_seed(seed)
    start, (encoder, head) = time.perf_counter(), build(config, tasks[0][0].shape[1])
    rate = config.learning_rate * (0.1 if arm == "lower_rate" else RATES.get((config.scenario, arm), 1))
    memory = buffer(config, arm, tasks[0][0].shape[1], head.output_shape[-1], len(tasks))
    model = compiled(config, make(config, arm, encoder, head, memory), rate)
    matrix, former = [], None

    def fit(x, y, memory=None, steps=config.steps):
        size = min(config.batch_size, len(y))
        stream = kt.streams.replay((x, y), memory, size, config.batch_size, seed=seed, steps=steps)
        model.fit(stream, shuffle=False, verbose=0)

    def test():
        return [model.evaluate(*one, batch_size=2000, verbose=0, return_dict=True)["accuracy"] for one in tests]

    untrained = test() if arm != "icarl" else None  # which has no means yet
    for number, (x, y) in enumerate(tasks):
        if arm in UPPER:
            x, y = (np.concatenate(part) for part in zip(*tasks[: len(tasks) if arm == "joint" else number + 1]))
        if arm == "joint":
            fit(x, y, steps=config.steps * len(tasks))
            matrix = [test()] * len(tasks)
            break
        if arm == "gdumb":
            model.consolidate(x, y)
            kept = memory.held()
            fit(kept["x"], kept["y"])
        elif arm == "l2" and number:  # from where the last task left the weights
            model = compiled(config, make(config, arm, encoder, head, memory), rate, model.optimizer)
            fit(x, y)
        else:
            fit(x, y, memory)
            if arm in METHODS:
                rows = np.random.default_rng(seed).permutation(len(y))
                rows = rows[: config.information_rows] if arm in ("ewc", "mas") else rows
                model.consolidate(x[rows], y[rows])
        if arm == "interpolation":
            now = model.get_weights()
            if former is not None:
                model.set_weights(kt.finetuning.interpolate(former, now))
            former = model.get_weights()
        matrix.append(test())
    found = {"matrix": matrix, "untrained": untrained, "seconds": time.perf_counter() - start}
    return found | {"bytes": 0 if memory is None else memory.bytes}, model


def main(config):
    """Trains every arm, reports, draws, exports the best of the methods by name and verifies; returns the record."""
    arms = [arm for arm in config.method if arm != "icarl" or config.scenario == "class"]
    methods = [arm for arm in arms if arm in METHODS]
    if len(config.seeds) < 2 or "naive" not in arms or not methods:
        raise ValueError(
            f"Expected at least 2 seeds, `naive` and at least one method to compare with it; received {config.seeds} "
            f"and {arms}."
        )
    run = runs.Run(config, "learn_tasks", f"{config.data}_{config.scenario}")
    train, test = load(config)
    tasks, tests = split(config, train), split(config, test)
    served = "replay" if "replay" in methods else methods[-1]
    found, model = {}, None

    def part(arm, seed):
        one, trained = learn(config, arm, seed, tasks, tests)
        return one, {"model": trained} if (arm, seed) == (served, config.seeds[0]) else {}

    for arm in arms:
        for seed in config.seeds:
            one, networks = run.part(f"{arm}, seed {seed}", functools.partial(part, arm, seed), seed)
            found.setdefault(arm, {})[seed] = one
            model = model or networks.get("model")
            last = one["matrix"][-1]
            print(f"{arm}, seed {seed}: {np.mean(last):.4f} = mean of {np.round(last, 3)}", flush=True)
    metrics = {
        arm: {
            seed: {"accuracy": float(np.mean(one["matrix"][-1])), "seconds": one["seconds"]} for seed, one in of.items()
        }
        for arm, of in found.items()
    }
    scores = {
        arm: {seed: kt.report.continual_scores(one["matrix"], one["untrained"]) for seed, one in of.items()}
        for arm, of in found.items()
        if arm != "joint"
    }
    per_task = {
        arm: [np.mean([one["matrix"][-1][i] for one in of.values()]).item() for i in range(len(tasks))]
        for arm, of in found.items()
    }
    extra = {
        "scores": scores,
        "matrices": {arm: {seed: one["matrix"] for seed, one in of.items()} for arm, of in found.items()},
    }
    extra |= {"last": per_task, "bytes": {arm: of[config.seeds[0]]["bytes"] for arm, of in found.items()}}
    extra["verdicts"] = verdicts(found, arms, len(tasks))
    report = kt.report.TransferReport(metrics, [arm for arm in arms if arm in BASELINES], "accuracy", extra=extra)
    drawn = {arm: [one["matrix"] for one in of.values()] for arm, of in found.items() if arm != "joint"}
    figures = {"over_time": pictures.over_time({arm: np.array(of) for arm, of in drawn.items()})}
    figures["matrices"] = pictures.matrices({arm: np.mean(of, axis=0) for arm, of in drawn.items()})
    names = ("first", "second") if config.scenario == "domain" else tuple("0123456789")
    card = {f"accuracy_task_{i}": value for i, value in enumerate(found[served][config.seeds[0]]["matrix"][-1])}
    return run.finish(report, figures, model=model, x=test[0][:64], classes=names, metrics=card)


def verdicts(found, arms, number):
    """Returns what may be said of each method on each task after the last, beside training on: `{arm: [words]}`."""
    told = {}
    for arm in arms:
        if arm in METHODS:
            pairs = (
                [[one["matrix"][-1][i] for one in found[name].values()] for name in (arm, "naive")]
                for i in range(number)
            )
            told[arm] = [kt.report.paired_gain(*pair, margin=0.01).verdict for pair in pairs]
    return told


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Adapts a network to rows of a table that come from elsewhere and have no labels, beside plain models, and exports it.

    python -m keras_transfer.recipes.adapt_table --csv houses.csv --task price --origin-column city --target Bergen

Each row of the CSV file is an example; its other columns are inputs: numbers and names, with gaps. The task is a number
or a class. Rows whose origin is not the target are the sources, and each batch holds as many of each; labels of the
target's rows, where they are there, measure and do nothing else. By default nothing is needed: 442 patients whose
diabetes is told a year ahead, from the younger half to the older, in about a minute and a half on one core. Measured
numbers: `results/adapt_table/diabetes.json`.

The baselines see the sources alone: a ridge or logistic regression of a cross-validated penalty, scikit-learn's boosted
trees, and `source_only`, the network of the methods without one. There is no score without labels for numbers: what is
exported is the first method.
"""

import dataclasses
import functools
import math
import pathlib
import tempfile
import time
from typing import Literal

import keras
import numpy as np
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import own_table, pictures, runs, table_network
from keras_transfer.recipes.domains import chain
from keras_transfer.recipes.table_network import COLUMNS, UNITS
from keras_transfer.recipes.table_tasks import LINEAR, TREES, Labels, without_network

BASELINES = (LINEAR, TREES, "source_only")
METHODS = {
    "dann": lambda encoder, head, weight: kt.models.DANN(encoder, head, adversary(), reversal=weight),
    "dan": lambda encoder, head, weight: kt.models.DAN(encoder, head, mmd_weight=weight),
    "deep_coral": lambda encoder, head, weight: kt.models.DeepCORAL(encoder, head, coral_weight=weight),
    "deep_jdot": lambda encoder, head, weight: kt.models.DeepJDOT(encoder, head, transport_weight=weight),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    csv: pathlib.Path | None = None
    """Your table: a CSV file in UTF-8 whose first line names the columns; by default patients."""
    task: str | None = None
    """The column to predict; empty where it is not known."""
    origin_column: str | None = None
    """The column that says where a row is from."""
    target: str | None = None
    """The origin that counts; rows of all others are the sources."""
    regression: bool = False
    """The task is a number although it has few different values."""
    categories: tuple[str, ...] | None = None
    """Columns of numbers that are names, such as postcodes."""
    leave_out: tuple[str, ...] | None = None
    """Columns that are no inputs, such as what is known only after the answer."""
    method: tuple[Literal[tuple(METHODS)], ...] = tuple(METHODS)
    """Methods to train; the first is exported."""
    weight: float = 1.0
    """The weight of what brings the domains together, at the end of its ramp."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One training of every arm for each; at least two, for an interval."""
    steps: int = 300
    """Training steps of each run, rounded up to whole epochs."""
    batch_size: int = 64
    """Rows of the sources, and as many of the target, in a step; fewer where there are fewer."""
    learning_rate: float = 1e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    runs: pathlib.Path = pathlib.Path("runs/adapt_table")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/adapt_table/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/adapt_table/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns the table and the name of the origin that is the target."""
    given = (config.csv, config.task, config.origin_column, config.target)
    if given == (None,) * 4:
        with tempfile.TemporaryDirectory() as folder:
            path, task, origin, target = own_table.diabetes(folder)
            return own_table.load(path, (task,), group_column=origin), target
    if None in given:
        raise ValueError(
            f"Expected --csv with --task, --origin-column and --target; received {', '.join(map(str, given))}."
        )
    regression = (config.task,) if config.regression else ()
    chosen = (regression, config.categories or (), config.leave_out or ())
    table = own_table.load(config.csv, (config.task,), *chosen, group_column=config.origin_column)
    origins = sorted(set(table.groups.tolist()))
    if config.target not in origins:
        raise ValueError(f"Expected --target to be one of the origins {origins}; received {config.target!r}.")
    return table, config.target


def adversary():
    """Returns a new discriminator of the encoder's features."""
    return chain((UNITS,), layers.Dense(UNITS, activation="relu"), layers.Dense(1))


def train(config, arm, seed, sources, target, labels):
    """Trains a network on the sources and the target; returns its encoder and head, and the history.

    Args:
        config: `Config`.
        arm: `"source_only"` or a method.
        seed: int.
        sources: `{origin: (x, y)}`.
        target: x of the rows without labels, a dict.
        labels: `Labels` of the one task.
    """
    keras.utils.set_random_seed(seed)
    (task,) = labels.tasks
    size = len(sources) * min(config.batch_size // len(sources), *(len(y) for _, y in sources.values()))
    stream = kt.streams.domains(
        sources, target, size, min(config.batch_size, len(target[COLUMNS])), seed=seed, check_range=False
    )
    stream = stream.repeat(max(1, 20 // len(stream)))  # steps of an epoch, since what happens between takes its time
    epochs, encoder = math.ceil(config.steps / len(stream)), table_network.encoder(target)
    steps, head = epochs * len(stream), chain((UNITS,), layers.Dense(len(labels.classes.get(task, "1"))))
    if arm == "source_only":
        model = keras.Model(encoder.input, head(encoder.output))
        stream = stream.map(lambda x, y: (x["source"], y))
    else:
        model = METHODS[arm](encoder, head, kt.schedules.DannRamp(0.4 * steps, config.weight))
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(keras.optimizers.Adam(rate), labels.loss(task))
    told = runs.progress(f"{arm}, seed {seed}", epochs)
    history = model.fit(stream, epochs=epochs, shuffle=False, verbose=0, callbacks=[told]).history
    return (encoder, head), history


def main(config):
    """Trains all arms, measures on the target where it has labels, exports and verifies; returns the record."""
    if len(config.seeds) < 2:
        raise ValueError(f"Expected at least 2 seeds for an interval; received {config.seeds}.")
    run, (table, target) = runs.Run(config, "adapt_table", config.csv.stem if config.csv else "diabetes"), load(config)
    train_rows, held_out, there = parts(table, target)
    labels, prepare = Labels(train_rows), table_network.preparation(train_rows)
    (task,), sides = labels.tasks, {"train": train_rows, "source": held_out, "target": there}
    raw = {side: table_network.raw_inputs(part) for side, part in sides.items()}
    x = {side: table_network.prepared(part, prepare, None, None) for side, part in raw.items()}
    y = {side: labels.of(part)[task] for side, part in sides.items()}
    labels.check({"train": {task: y["train"]}, "test": {task: y["source"]}})
    known = labels.there(task, y["target"])
    sources = {
        origin: ({COLUMNS: x["train"][COLUMNS][train_rows.groups == origin]}, y["train"][train_rows.groups == origin])
        for origin in sorted(set(train_rows.groups.tolist()))
    }
    tested = ["source"] + (["target"] if len(set(y["target"][known].tolist())) > 1 else [])
    name, metrics, histories, networks = labels.metric(task), {}, {}, {}

    def plain():
        start, one = time.perf_counter(), {task: y["train"]}
        found = {
            side: without_network(labels, task, {"train": x["train"], "test": x[side]}, one, {task: y[side]})
            for side in tested
        }
        return {"metrics": found, "seconds": time.perf_counter() - start}, {}

    def network(arm, seed):
        start = time.perf_counter()
        (encoder, head), history = train(config, arm, seed, sources, x["target"], labels)
        answers = {side: head.predict(encoder.predict(x[side], verbose=0), verbose=0) for side in tested}
        found = {f"{side}_{name}": labels.score(task, y[side], answers[side]) for side in tested}
        found["seconds"] = time.perf_counter() - start
        kept = {"encoder": encoder, "head": head} if (arm, seed) == (config.method[0], config.seeds[0]) else {}
        return {"metrics": found, "history": history}, kept

    found, _ = run.part("without a network", plain)
    for arm in (LINEAR, TREES):
        one = {f"{side}_{name}": found["metrics"][side][arm] for side in tested} | {"seconds": found["seconds"]}
        metrics[arm] = dict.fromkeys(config.seeds, one)
    for arm in ("source_only", *config.method):
        for seed in config.seeds:
            one, left = run.part(f"{arm}, seed {seed}", functools.partial(network, arm, seed), seed)
            metrics.setdefault(arm, {})[seed] = one["metrics"]
            histories.setdefault(arm, []).append(one["history"])
            networks |= left
    extra = {"rows": {side: len(part) for side, part in y.items()}, "histories": histories, "metric": name}
    whole = table_network.from_raw(raw["target"], prepare, None, None, networks["encoder"])
    unit = [layers.Rescaling(labels.scale[task][1], labels.scale[task][0])] if task in labels.scale else []
    answer = functools.reduce(lambda part, layer: layer(part), [networks["head"], *unit], whole.output)
    export = {"x": {column: rows[:64] for column, rows in raw["target"].items()}, "classes": labels.classes.get(task)}
    report = kt.report.TransferReport(metrics, BASELINES, f"{tested[-1]}_{name}", extra=extra)
    return run.finish(report, {"curves": pictures.curves(histories)}, model=keras.Model(whole.input, answer), **export)


def parts(table, target):
    """Returns the sources' rows that train, a fifth of them that do not, and the target's, as tables."""
    (labels,), there = table.labels.values(), table.groups == target
    known = labels >= 0 if labels.dtype == np.int32 else ~np.isnan(labels)
    ours = table.subset(np.flatnonzero(~there & known))
    train, test = own_table.split(ours._replace(groups=None), 0.2)
    return ours.subset(train), ours.subset(test), table.subset(np.flatnonzero(there))


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Learns several columns of your table with one network, beside a model for each and a linear one, and exports it.

    keras-transfer multi-task --csv people.csv --tasks income hours
    keras-transfer multi-task --csv shoes.csv --tasks kind season price --image-column file

Each row of the CSV file is an example; its other columns are inputs: numbers, names, pictures by their paths. Cells may
be missing, labels too. Names and few whole numbers among the tasks are classes, other numbers are values of a
regression. By default nothing is needed: 178 wines that ship with scikit-learn, of which the cultivar, the alcohol and
the colour are told from the other eleven measurements, in about three minutes on one core.

One network has a head for each task. The baselines: the same network for each task alone, with as many steps and the
same choice of rates; a logistic or ridge regression whose penalty is chosen by cross-validation; and scikit-learn's
boosted trees, which are hard to beat on tables. A fifth of the rows is the test, which chooses nothing. The export
takes the columns as they are in the file, strings and gaps among them.
"""

import dataclasses
import functools
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import own_table, pictures, runs, table_network
from keras_transfer.recipes.table_tasks import SHARED, Labels, advice, arms_of, report, without_network

VALIDATION = 0.2  # of the training rows, which choose the rate


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    csv: pathlib.Path | None = None
    """Your table: a CSV file in UTF-8 whose first line names the columns; by default wines."""
    tasks: tuple[str, ...] | None = None
    """Columns to predict, at least two."""
    regression: tuple[str, ...] | None = None
    """Tasks that are regressions although they are few whole numbers."""
    categories: tuple[str, ...] | None = None
    """Columns of numbers that are names, such as postcodes."""
    leave_out: tuple[str, ...] | None = None
    """Columns that are no inputs, such as what is known only after the answer."""
    image_column: str | None = None
    """Column of the paths of pictures, which start from the folder of the file; they are read into memory."""
    image_size: int = 64
    """Side in pixels that pictures are reduced to."""
    backbone: str = "small_cnn"
    """What sees the pictures: `small_cnn`, which is trained here; or `applications:MobileNetV2`, `hub:<folder>`,
    `keras_hub:<preset>` or `file:<path>.keras`, which stay as they are."""
    group_column: str | None = None
    """Column that says which rows belong together, such as a person: all of a group train, or all test."""
    test_share: float = 0.2
    """Share of the rows that test."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of every model for each; at least two, for an interval."""
    steps: int = 2000
    """Training steps of each model."""
    batch_size: int = 128
    """Rows in a step."""
    rates: tuple[float, ...] = (1e-3, 3e-3)
    """Learning rates of AdamW to choose from, at the start of a cosine decay to 0."""
    runs: pathlib.Path = pathlib.Path("runs/train_table")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/train_table/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/train_table/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns the rows that train and those that test."""
    if not 0 < config.test_share < 1:
        raise ValueError(f"Expected --test-share between 0 and 1; received {config.test_share}.")
    if config.csv is None and config.tasks is None:
        with tempfile.TemporaryDirectory() as folder:
            table = own_table.load(*own_table.wine(folder))
    elif config.csv is None or config.tasks is None or len(config.tasks) < 2:
        raise ValueError(f"Expected --csv with at least two --tasks; received {config.csv} and {config.tasks}.")
    else:
        chosen = (config.tasks, config.regression or (), config.categories or (), config.leave_out or ())
        table = own_table.load(config.csv, *chosen, config.image_column, config.image_size, config.group_column)
    return [table.subset(side) for side in own_table.split(table, config.test_share)]


def build(x, labels, tasks):
    """Returns a new built model of some tasks, or of the only one, and the networks that it is made of."""
    encoder, missing = table_network.encoder(x), {task: labels.missing()[task] for task in tasks}
    features = keras.Input(encoder.output.shape[1:])
    heads = {task: keras.Sequential([features, layers.Dense(len(labels.classes.get(task, "1")))]) for task in tasks}
    if len(heads) == 1:
        (head,) = heads.values()
        return keras.Model(encoder.input, head(encoder.output)), {}
    model = kt.models.SharedEncoder(encoder, heads, missing=missing)
    model({name: rows[:1].astype("float32") for name, rows in x.items()})
    return model, {"encoder": encoder, **{f"head_{task}": head for task, head in heads.items()}}


def train(config, seed, rate, labels, tasks, x, y):
    """Trains a model of some tasks; returns it, the networks that it is made of, its history and the seconds."""
    keras.utils.set_random_seed(seed)
    model, networks = build(x, labels, tasks)
    rows = np.any([labels.there(task, y[task]) for task in tasks], axis=0)
    x, y = {name: part[rows] for name, part in x.items()}, {task: y[task][rows] for task in tasks}
    data = keras.tree.map_structure(tf.convert_to_tensor, (x, y if len(tasks) > 1 else y[tasks[0]]))
    number = int(rows.sum())
    order = tf.data.Dataset.range(number).shuffle(number, seed=seed).repeat().batch(min(config.batch_size, number))
    stream = kt.streams.prefetched(
        order.map(lambda places: keras.tree.map_structure(lambda part: tf.gather(part, places), data))
    )
    losses = {task: labels.loss(task) for task in tasks}
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(rate, config.steps), weight_decay=1e-3)
    model.compile(optimizer, losses if len(tasks) > 1 else losses[tasks[0]])
    epochs = min(20, config.steps)
    told = runs.progress(f"{', '.join(tasks)}, seed {seed}, rate {rate}", epochs)
    start = time.perf_counter()
    fitted = model.fit(
        stream, epochs=epochs, steps_per_epoch=config.steps // epochs, shuffle=False, verbose=0, callbacks=[told]
    )
    return model, networks, fitted.history, time.perf_counter() - start


def scores(model, labels, tasks, x, y):
    """Returns the metric of each task."""
    predictions = model.predict(x, batch_size=1024, verbose=0)
    predictions = predictions if isinstance(predictions, dict) else {tasks[0]: predictions}
    return {task: labels.score(task, y[task], predictions[task]) for task in tasks}


def main(config):
    """Trains all models, compares, draws, exports and verifies; returns the record."""
    run = runs.Run(config, "train_table", config.csv.stem if config.csv else "wine")
    train_rows, test_rows = load(config)
    picture = config.image_column and table_network.served_name(config.image_column)
    raw = {"train": table_network.raw_inputs(train_rows, picture), "test": table_network.raw_inputs(test_rows, picture)}
    prepare, backbone = table_network.preparation(train_rows), None
    if picture and config.backbone != "small_cnn":
        backbone = kt.backbones.load(config.backbone, (config.image_size, config.image_size, 3), trainable=False)
    x = {side: table_network.prepared(part, prepare, backbone, picture) for side, part in raw.items()}
    labels = Labels(train_rows)
    y = {"train": labels.of(train_rows), "test": labels.of(test_rows)}
    labels.check(y)
    fewer, held = (
        keras.tree.map_structure(lambda part, rows=rows: part[rows], (x["train"], y["train"]))
        for rows in own_table.split(train_rows, VALIDATION)
    )
    arms = {**{task: (task,) for task in labels.tasks}, SHARED: labels.tasks}
    found, networks, rates = {}, {}, {}

    def choose(tasks):
        """The rate that the validation part likes best, of models that have not seen it."""
        if len(config.rates) == 1:
            return {"rate": config.rates[0]}, {}
        liked = []
        for rate in config.rates:
            model, *_ = train(config, config.seeds[0], rate, labels, tasks, *fewer)
            liked.append(float(np.mean(list(scores(model, labels, tasks, *held).values()))))
        return {"validation": liked, "rate": config.rates[int(np.argmax(liked))]}, {}

    def compute(arm, seed):
        model, made_of, history, took = train(config, seed, rates[arm], labels, arms[arm], x["train"], y["train"])
        measured = {"scores": scores(model, labels, arms[arm], x["test"], y["test"]), "seconds": took}
        measured["parameters"] = int(sum(np.prod(v.shape) for v in model.trainable_variables))
        first = arm == SHARED and seed == config.seeds[0]
        return {**measured, "history": history if arm == SHARED else {}}, made_of if first else {}

    def without():
        vectors = any(part.ndim == 2 for part in x["train"].values())
        tasks = labels.tasks if vectors else ()
        return {task: without_network(labels, task, x, y["train"], y["test"]) for task in tasks}, {}

    plain, _ = run.part("without a network", without)
    for arm, tasks in arms.items():
        rates[arm] = run.part(f"rate of {arm}", functools.partial(choose, tasks), config.seeds[0])[0]["rate"]
    for seed in config.seeds:
        for arm in arms:
            one, left = run.part(f"{arm}, seed {seed}", functools.partial(compute, arm, seed), seed)
            found.setdefault(arm, {})[seed] = one
            networks |= left
            print(f"seed {seed}, {arm}: {one['scores']}", flush=True)
    record, figures, text = compare(labels, found, plain)
    record |= {"rows": {side: len(next(iter(part.values()))) for side, part in y.items()}, "rates": rates}
    whole = table_network.from_raw(raw["test"], prepare, backbone, picture, networks["encoder"])
    served = serve(labels, whole, {task: networks[f"head_{task}"] for task in labels.tasks})
    rows = {name: part[:64] for name, part in raw["test"].items()}
    return run.finish(record, figures, text, model=served, x=rows, classes=labels.classes)


def compare(labels, found, plain):
    """Returns what belongs in the record, the pictures and the text.

    Args:
        labels: `Labels`.
        found: `{arm: {seed: what was measured}}` of the networks.
        plain: `{task: {arm: score}}` of the models that are none.
    """
    scores_of, seconds = (
        {arm: {seed: one[name] for seed, one in seeds.items()} for arm, seeds in found.items()}
        for name in ("scores", "seconds")
    )
    parameters = {arm: next(iter(seeds.values()))["parameters"] for arm, seeds in found.items()}
    histories = [one["history"] for one in found[SHARED].values()]
    by_task = {task: arms_of(task, scores_of, plain) for task in labels.tasks}
    reports = {task: report(labels.metric(task), arms) for task, arms in by_task.items() if len(histories) > 1}
    record = {
        "metric": {task: labels.metric(task) for task in labels.tasks},
        "scores": by_task,
        "reports": {task: one.to_dict() for task, one in reports.items()},
        "seconds": seconds,
        "parameters": parameters,
        "histories": histories,
    }
    figures = {"curves": pictures.curves({SHARED: histories}), **{task: one.draw() for task, one in reports.items()}}
    texts = [f"{task}\n{one}" for task, one in reports.items()]
    texts += [advice(by_task)] if texts else []
    if not texts:  # of one seed
        texts = [
            f"{task} ({labels.metric(task)}): "
            + ", ".join(f"{arm} {next(iter(seeds.values())):.3f}" for arm, seeds in arms.items())
            for task, arms in by_task.items()
        ]
    text = "\n\n".join([*texts, told(parameters, seconds)])
    return record, figures, text


def serve(labels, whole, heads):
    """Returns the model of all tasks from raw inputs to logits, and to values in their own unit."""
    for task, (mean, deviation) in labels.scale.items():
        heads[task] = keras.Sequential([*heads[task].layers, layers.Rescaling(deviation, mean)])
        heads[task].build((None, table_network.UNITS))
    served = kt.models.SharedEncoder(whole, heads, missing=labels.missing())
    served.build({name: tuple(one.shape) for name, one in whole.input.items()})
    return served


def told(parameters, seconds):
    """Returns what sharing costs, in words."""
    single = [arm for arm in parameters if arm != SHARED]
    share = parameters[SHARED] / sum(parameters[arm] for arm in single)
    pace = np.mean([took / sum(seconds[arm][seed] for arm in single) for seed, took in seconds[SHARED].items()])
    return f"Shared: {share:.0%} of the parameters of the single-task models together, {pace:.0%} of their time"


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Learns four attributes of a letter with one encoder, beside a model for each, and exports the one that answers all.

    python -m keras_transfer.recipes.train_attributes

Nothing is downloaded: script, case, base letter and diacritic of rendered letters, with half of the training labels of
each task missing; the test shows fonts that no training image has. All models have the same encoder, take as many steps
and choose one of the same rates by the accuracy on 2,000 images that none trains with, on the first seed. A single-task
model trains on all labels that its task has. About an hour on one core.

Other architectures, weightings and data: `recipes/studies/train_tasks.py`, whose measured numbers are in
`results/train_tasks/`.
"""

import dataclasses
import functools
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs

VALIDATION, TEST, SHARED, UNITS = 2000, 5000, "shared", 256  # images, images, an arm, features


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One training of every model for each."""
    images: int = 20_000
    """Training images, 2,000 of which choose the rates."""
    missing: float = 0.5
    """Share of the training labels of each task that are taken away, at random."""
    epochs: int = 40
    """Passes of the shared model over the images; single-task models take as many steps."""
    batch_size: int = 128
    """Images in a batch."""
    rates: tuple[float, ...] = (2e-3, 4e-3)
    """Learning rates of Adam to choose from, at the start of a cosine decay to 0."""
    runs: pathlib.Path = pathlib.Path("runs/train_attributes")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/train_attributes/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/train_attributes/letters.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{part: images}`, `{part: {task: labels}}` with -1 for none, and `{task: class names}`."""
    if config.images <= VALIDATION:
        raise ValueError(f"Expected more than {VALIDATION} `images`, which choose the rates; received {config.images}.")
    letters = kt.datasets.script_letters()
    attributes = kt.datasets.letter_attributes(letters)
    fonts = kt.datasets.DEJAVU_FONTS
    unseen = fonts[3::4]  # the bold and slanted one of each family
    seen = [font for font in fonts if font not in unseen]
    parts = [
        kt.datasets.glyphs(letters, n, fonts=part, seed=seed)
        for seed, (n, part) in enumerate([(config.images, seen), (TEST, unseen)])
    ]
    labels = [{task: a.labels[part.labels] for task, a in attributes.items()} for part in parts]
    return *hold_out([part.images for part in parts], labels), {task: a.names for task, a in attributes.items()}


def hold_out(images, labels):
    """Returns images and labels of training, validation and test; training and test are given."""
    held, rest = np.split(np.random.default_rng(0).permutation(len(images[0])), [VALIDATION])
    x = {"train": images[0][rest], "validation": images[0][held], "test": images[1]}
    y = {"train": {t: v[rest] for t, v in labels[0].items()}, "validation": {t: v[held] for t, v in labels[0].items()}}
    return x, {**y, "test": labels[1]}


def stages():
    """Returns the stages of a new network from images to features `(batch, UNITS)`: convolutions, then a Dense."""
    convolutions = [
        [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
        for filters in (16, 32, 64)
    ]
    parts = [[layers.Rescaling(1 / 255)] + convolutions[0], *convolutions[1:]]
    parts += [[layers.Flatten(), layers.Dropout(0.3), layers.Dense(UNITS, activation="relu")]]
    return [keras.Sequential(part) for part in parts]


def tower():
    """Returns a new network from images to features `(batch, UNITS)`."""
    return keras.Sequential(stages())


def build(heads):
    """Returns a new model of several tasks, which have the heads."""
    return kt.models.SharedEncoder(tower(), heads, missing=-1)


def build_any(shape, names, make=build):
    """Returns a new built model of the tasks in `names`, or of the only one."""
    heads = {task: layers.Dense(len(classes)) for task, classes in names.items()}
    model = make(heads) if len(heads) > 1 else keras.Sequential([tower(), *heads.values()])
    model.build((None, *shape))
    return model


def train(config, seed, rate, names, x, y, make=build):
    """Trains a model of the tasks in `names`; returns it, its history and the seconds."""
    keras.utils.set_random_seed(seed)
    single = len(names) == 1
    model = build_any(x.shape[1:], names, make)
    steps = len(x) // config.batch_size
    labels = {task: y[task] for task in names}
    if single:
        (labels,) = labels.values()
        x, labels = x[labels >= 0], labels[labels >= 0]
    rows = tf.data.Dataset.from_tensor_slices((x, labels)).shuffle(len(x), seed=seed).repeat()
    stream = kt.streams.prefetched(rows.batch(config.batch_size, drop_remainder=True))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, config.epochs * steps))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, weighted_metrics=["accuracy"] if single else [["accuracy"]] * len(names))
    watch = [] if single else [kt.callbacks.TaskMonitor()]
    watch += [runs.progress(f"{', '.join(names)}, seed {seed}, rate {rate}", config.epochs)]
    start = time.perf_counter()
    fitted = model.fit(stream, epochs=config.epochs, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=watch)
    return model, fitted.history, time.perf_counter() - start


def accuracies(model, names, x, y):
    """Returns the accuracy of each task over the images that have its label."""
    logits = model.predict(x, batch_size=500, verbose=0)
    logits = logits if isinstance(logits, dict) else dict.fromkeys(names, logits)
    there = {task: y[task] >= 0 for task in names}
    return {task: float((logits[task].argmax(-1) == y[task])[there[task]].mean()) for task in names}


def main(config, load=load, make=build, recipe="train_attributes", case="letters"):
    """Trains all models, compares, draws, exports and verifies; returns the record.

    The arguments behind the settings are for studies: where data come from, the model of all tasks, and names.
    """
    run, (x, y, names) = runs.Run(config, recipe, case), load(config)
    arms = {**{task: {task: names[task]} for task in names}, SHARED: names}
    tests, seconds, rates, parameters, histories, kept = {}, {arm: {} for arm in arms}, {}, {}, [], None

    def part(arm, seed, labels):
        trained, tasks = {}, arms[arm]
        for rate in (rates[arm],) if arm in rates else config.rates:
            model, history, took = train(config, seed, rate, tasks, x["train"], labels, make)
            score = np.mean(list(accuracies(model, tasks, x["validation"], y["validation"]).values()))
            trained[rate] = score, model, history, took
        rate = max(trained, key=lambda rate: trained[rate][0])
        _, model, history, took = trained[rate]
        found = {"rate": rate, "accuracy": accuracies(model, tasks, x["test"], y["test"]), "seconds": took}
        found["parameters"] = int(sum(np.prod(v.shape) for v in model.trainable_variables))
        kept_whole = arm == SHARED and seed == config.seeds[0]
        return {**found, "history": history if arm == SHARED else {}}, {"model": model} if kept_whole else {}

    for seed in config.seeds:
        missing = np.random.default_rng(seed).random((len(names), len(x["train"]))) < config.missing
        labels = {task: np.where(gone, -1, y["train"][task]) for gone, task in zip(missing, names)}
        for arm in arms:
            found, networks = run.part(f"{arm}, seed {seed}", functools.partial(part, arm, seed, labels), seed)
            tests.setdefault(arm, {})[seed], rates[arm] = found["accuracy"], found["rate"]
            seconds[arm][seed], parameters[arm] = found["seconds"], found["parameters"]
            if arm == SHARED:
                histories.append(found["history"])
                kept = kept or networks["model"]
            print(f"seed {seed}, {arm}: {tests[arm][seed]}, rate {rates[arm]}", flush=True)

    reports = {task: compare(tests, task) for task in names} if len(config.seeds) > 1 else {}
    record = {
        "accuracy": tests,
        "reports": {task: report.to_dict() for task, report in reports.items()},
        "seconds": seconds,
        "parameters": parameters,
        "rates": rates,
        "histories": histories,
    }
    alone, shared = (
        {task: [test[task] for test in tests[arm or task].values()] for task in names} for arm in (None, SHARED)
    )
    figures = {
        "curves": pictures.curves({SHARED: histories}),
        "samples": pictures.samples({"test": x["test"]}),
        "accuracy": pictures.accuracies({"single": alone, SHARED: shared}),
        **{task: report.draw() for task, report in reports.items()},
    }
    text = summary(reports, parameters, seconds)
    export = {"model": kept, "x": x["test"][:8], "classes": names}
    return run.finish(record, figures, text, **export)


def compare(tests, task):
    """Returns the report of one task: the shared model against the task's own."""
    found = {arm: {s: {"accuracy": run[task]} for s, run in tests[arm].items()} for arm in (task, SHARED)}
    return kt.report.TransferReport({"single": found[task], SHARED: found[SHARED]}, "single", "accuracy")


def summary(reports, parameters, seconds):
    """Returns what to print: the reports, the tasks that sharing did not help, and what it costs."""
    gains = {task: report.gain(SHARED) for task, report in reports.items()}
    behind = [f"{task} ({gain.verdict})" for task, gain in gains.items() if gain.mean <= 0]
    single = [arm for arm in parameters if arm != SHARED]
    share = parameters[SHARED] / sum(parameters[arm] for arm in single)
    pace = np.mean([took / sum(seconds[arm][seed] for arm in single) for seed, took in seconds[SHARED].items()])
    return "\n\n".join(
        [f"{task}\n{report}" for task, report in reports.items()]
        + [
            f"Not above its single-task model: {', '.join(behind) or 'no task'}\n"
            f"Shared: {share:.0%} of the parameters of the single-task models together, {pace:.0%} of their time"
        ]
    )


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

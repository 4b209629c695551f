"""Learns several tasks with one encoder, beside a model for each task, and exports the one that answers all.

    python -m recipes.train_tasks
    python -m recipes.train_tasks --data multi_fashion --missing 0 --architecture cross_stitch --weighting cagrad

By default nothing is downloaded: script, case, base letter and diacritic of rendered letters, with half of the training
labels of each task missing; the test shows fonts that no training image has. `multi_fashion` is two garments in one
image, a task each, from Fashion-MNIST, which `keras.datasets` downloads once (30 MB).

All models have the same three 3 x 3 convolutions of 16, 32 and 64 with pooling, dropout and a Dense of 256, the same
number of steps and the same rates to choose from. Each chooses its own by the accuracy on 2,000 images that none trains
with, on the first seed. A single-task model trains on all labels that its task has. On one core the default takes about
an hour, 60,000 images of `multi_fashion` for 10 epochs 40 minutes; the README shows what both reach.
"""

import dataclasses
import pathlib
import time
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from recipes import pictures, runs

VALIDATION, SHARED, UNITS = 2000, "shared", 256
WEIGHTINGS = {
    "equal": lambda: None,
    "uncertainty": lambda: kt.weightings.Uncertainty(rate=10.0, from_first_losses=True),
    "dynamic_weight_average": kt.weightings.DynamicWeightAverage,
    "random": kt.weightings.RandomWeighting,
    "grad_norm": kt.weightings.GradNorm,
    "pcgrad": kt.weightings.PCGrad,
    "mgda": kt.weightings.MGDA,
    "cagrad": kt.weightings.CAGrad,
}


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


def flat():
    """Returns a new network from images to the activations that experts read."""
    return keras.Sequential([*stages()[:-1], layers.Flatten(), layers.Dropout(0.3)])


def experts():
    """Returns two new networks to features `(batch, UNITS)`."""
    return [layers.Dense(UNITS, activation="relu") for _ in range(2)]


def progressive(heads, **settings):
    """Returns two shared experts beside two of each task."""
    own = {task: [experts()] for task in heads}
    return kt.models.ProgressiveExtraction(flat(), [experts()], own, heads, **settings)


ARCHITECTURES = {
    "shared_encoder": lambda heads, **kw: kt.models.SharedEncoder(tower(), heads, **kw),
    "soft_sharing": lambda heads, **kw: kt.models.SoftSharing({task: tower() for task in heads}, heads, **kw),
    "cross_stitch": lambda heads, **kw: kt.models.CrossStitch({task: stages() for task in heads}, heads, **kw),
    "mixture_of_experts": lambda heads, **kw: kt.models.MixtureOfExperts(flat(), experts() + experts(), heads, **kw),
    "progressive_extraction": progressive,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal["glyphs", "multi_fashion"] = "glyphs"
    """Four attributes of rendered letters, or two garments in one image."""
    architecture: Literal[tuple(ARCHITECTURES)] = "shared_encoder"
    """What the tasks share."""
    weighting: Literal[tuple(WEIGHTINGS)] = "equal"
    """What the tasks count."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One training of every model for each."""
    images: int = 20_000
    """Training images, 2,000 of which choose the rates; of multi_fashion at most 60,000."""
    missing: float = 0.5
    """Share of the training labels of each task that are taken away, at random."""
    epochs: int = 40
    """Passes of the shared model over the images; single-task models take as many steps."""
    batch_size: int = 128
    """Images in a batch."""
    rates: tuple[float, ...] = (2e-3, 4e-3)
    """Learning rates of Adam to choose from, at the start of a cosine decay to 0."""
    runs: pathlib.Path = pathlib.Path("runs/train_tasks")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/train_tasks/<version>/`."""
    results: pathlib.Path | None = None
    """Where to copy the report as `train_tasks/<data>_<architecture>_<weighting>.json`; by default nowhere."""


def load(config):
    """Returns `{part: images}`, `{part: {task: labels}}` with -1 for none, and `{task: class names}`."""
    if config.images <= VALIDATION:
        raise ValueError(f"Expected more than {VALIDATION} `images`, which choose the rates; received {config.images}.")
    if config.data == "glyphs":
        letters = kt.datasets.script_letters()
        attributes = kt.datasets.letter_attributes(letters)
        names = {task: attribute.names for task, attribute in attributes.items()}
        fonts = kt.datasets.DEJAVU_FONTS
        unseen = fonts[3::4]  # the bold and slanted one of each family
        seen = [font for font in fonts if font not in unseen]
        rendered = [
            kt.datasets.glyphs(letters, n, fonts=part, seed=seed)
            for seed, (n, part) in enumerate([(config.images, seen), (5000, unseen)])
        ]
        images = [part.images for part in rendered]
        labels = [{task: a.labels[part.labels] for task, a in attributes.items()} for part in rendered]
    else:
        parts = [kt.datasets.multi_fashion(split) for split in ("train", "test")]
        garments = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
        names = dict.fromkeys(("left", "right"), garments)
        images = [parts[0].images[: config.images], parts[1].images]
        labels = [{task: getattr(part, task)[: len(x)] for task in names} for part, x in zip(parts, images)]
    held, rest = np.split(np.random.default_rng(0).permutation(len(images[0])), [VALIDATION])
    x = {"train": images[0][rest], "validation": images[0][held], "test": images[1]}
    y = {"train": {t: v[rest] for t, v in labels[0].items()}, "validation": {t: v[held] for t, v in labels[0].items()}}
    return x, {**y, "test": labels[1]}, names


def build(config, shape, names):
    """Returns a new model of all tasks in `names`, or of the only one."""
    heads = {task: layers.Dense(len(classes)) for task, classes in names.items()}
    if len(heads) > 1:
        model = ARCHITECTURES[config.architecture](heads, weighting=WEIGHTINGS[config.weighting](), missing=-1)
    else:
        model = keras.Sequential([tower(), *heads.values()])
    model.build((None, *shape))
    return model


def train(config, seed, rate, names, x, y):
    """Trains a model of the tasks in `names`; returns it, its history and the seconds."""
    keras.utils.set_random_seed(seed)
    single = len(names) == 1
    model = build(config, x.shape[1:], names)
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
    start = time.perf_counter()
    fitted = model.fit(stream, epochs=config.epochs, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=watch)
    return model, fitted.history, time.perf_counter() - start


def accuracies(model, names, x, y):
    """Accuracy of each task over the images that have its label."""
    logits = model.predict(x, batch_size=500, verbose=0)
    logits = logits if isinstance(logits, dict) else dict.fromkeys(names, logits)
    there = {task: y[task] >= 0 for task in names}
    return {task: float((logits[task].argmax(-1) == y[task])[there[task]].mean()) for task in names}


def main(config):
    """Trains all models, compares, draws, exports and verifies; returns the record."""
    x, y, names = load(config)
    arms = {**{task: {task: names[task]} for task in names}, SHARED: names}
    tests, seconds, rates, parameters, histories, kept = {}, {arm: {} for arm in arms}, {}, {}, [], None
    for seed in config.seeds:
        missing = np.random.default_rng(seed).random((len(names), len(x["train"]))) < config.missing
        labels = {task: np.where(gone, -1, y["train"][task]) for gone, task in zip(missing, names)}
        for arm, tasks in arms.items():
            trained = {}
            for rate in (rates[arm],) if arm in rates else config.rates:
                model, history, took = train(config, seed, rate, tasks, x["train"], labels)
                score = np.mean(list(accuracies(model, tasks, x["validation"], y["validation"]).values()))
                trained[rate] = score, model, history, took
            rates[arm] = max(trained, key=lambda rate: trained[rate][0])
            _, model, history, seconds[arm][seed] = trained[rates[arm]]
            parameters[arm] = int(sum(np.prod(v.shape) for v in model.trainable_variables))
            tests.setdefault(arm, {})[seed] = accuracies(model, tasks, x["test"], y["test"])
            if arm == SHARED:
                histories.append(history)
                kept = kept or model
            print(f"seed {seed}, {arm}: {tests[arm][seed]}, rate {rates[arm]}", flush=True)

    reports = {task: compare(tests, task) for task in names} if len(config.seeds) > 1 else {}
    version = kt.export(kept, config.saved_models / "train_tasks", x["test"][:8], classes=names)
    verified = kt.serving.verify(version, kept, x["test"][:8])
    record = {
        "config": runs.settings(config),
        "accuracy": tests,
        "reports": {task: report.to_dict() for task, report in reports.items()},
        "seconds": seconds,
        "parameters": parameters,
        "rates": rates,
        "export": verified._asdict(),
        "histories": histories,
    }
    case = f"{config.data}_{config.architecture}_{config.weighting}"
    folder = runs.folder(config, case)
    folder.mkdir(parents=True)
    figures = {"curves": pictures.curves({SHARED: histories}), "samples": pictures.samples({"test": x["test"]})}
    alone = {task: [run[task] for run in tests[task].values()] for task in names}
    shared = {task: [run[task] for run in tests[SHARED].values()] for task in names}
    figures["accuracy"] = pictures.accuracies({"single": alone, SHARED: shared})
    figures |= {task: report.draw() for task, report in reports.items()}
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)
    runs.write(record, folder, config, "train_tasks", case)
    single = [arm for arm in arms if arm != SHARED]
    share = parameters[SHARED] / sum(parameters[arm] for arm in single)
    pace = np.mean([seconds[SHARED][seed] / sum(seconds[arm][seed] for arm in single) for seed in config.seeds])
    print(*(f"\n{task}\n{report}" for task, report in reports.items()), sep="\n")
    behind = {task: report.gain(SHARED) for task, report in reports.items() if report.gain(SHARED).mean <= 0}
    named = [f"{task} ({gain.verdict})" for task, gain in behind.items()]
    print(f"\nNot above its single-task model: {', '.join(named) or 'no task'}")
    print(f"Shared: {share:.0%} of the parameters of the single-task models together, {pace:.0%} of their time")
    print(f"Pictures and report: {folder}\nExport: {version}")
    return record


def compare(tests, task):
    """Returns the report of one task: the shared model against the task's own."""
    found = {arm: {s: {"accuracy": run[task]} for s, run in tests[arm].items()} for arm in (task, SHARED)}
    return kt.report.TransferReport({"single": found[task], SHARED: found[SHARED]}, "single", "accuracy")


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))

"""Chooses a backbone for your pictures, and says whether fine-tuning it pays; what wins is exported.

    keras-transfer choose --images my_photos --backbones applications:MobileNetV2 hub:FOLDER --minutes 20

Every backbone sees the labelled pictures once, and LogME, which trains nothing, ranks them (H-score stands beside it).
The best few then learn: a logistic regression on their features, its penalty chosen by cross-validation, plain and on
views, which is the baseline and an answer; and fine-tuning from there, as far as the budget goes. Folds of the labelled
pictures compare them: each arm is asked of pictures that it has not seen. Without `--images` nothing is downloaded:
Georgian letters, and a small CNN that has learned to read Greek and Cyrillic ones, beside the same untrained; about 4
minutes on two cores.

The pictures that test are looked at once, at the end, by what has won and by the best logistic regression. How often
the choice is right: `recipes/studies/choose_backbones.py`, `results/choose_backbones/`.
"""

import dataclasses
import math
import pathlib
import time
from typing import ClassVar, NamedTuple

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters, own_pictures, pictures, runs
from keras_transfer.recipes.candidates import PLAIN, TUNED, VIEWS, Candidate, folds_of, recommend, score, shortlist
from keras_transfer.recipes.few_labels import predict

BATCH = 16
TRACING = 20  # seconds, about, before the first step
STEP = 4  # times what a batch takes forwards, about: a training step of the upper half


@dataclasses.dataclass(frozen=True)
class Pictures(own_pictures.Options):
    """Your own pictures; the backbones that see them are a setting of their own."""

    backbone: ClassVar[None] = None


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Pictures = Pictures()
    backbones: tuple[str, ...] | None = None
    """Networks to choose from: `small_cnn` (untrained), `applications:MobileNetV2` (ImageNet weights, which Keras
    downloads), `hub:<folder or handle>`, `keras_hub:<preset>` or `file:<path>.keras`. By default the first two; without
    `--images` also `letters`, the small CNN that has learned to read others."""
    minutes: float = 15.0
    """Budget. What does not fit is left out, and said."""
    candidates: int = 2
    """Backbones that learn, those of highest LogME."""
    folds: int = 3
    """Parts of the labelled pictures, each held out once; fewer where a class has fewer pictures or groups."""
    most: int = 1000
    """Labelled pictures that are used, at most, the same share of each class."""
    views: int = 8
    """Views of each labelled picture, the picture itself among them."""
    mirror: bool = True
    """Whether a picture that is mirrored still shows the same; not so for letters and signs."""
    steps: int = 100
    """Training steps of each fine-tuning."""
    rates: tuple[float, ...] = (3e-4,)
    """Learning rates of Adam for fine-tuning to choose from; each takes more of the budget."""
    runs: pathlib.Path = pathlib.Path("runs/choose_backbone")
    """Folder in which each run makes a folder with its report and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/choose_backbone/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/choose_backbone/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


class Data(NamedTuple):
    """Labelled pictures, and those that test."""

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None
    test: np.ndarray | kt.datasets.ImageFiles
    test_labels: np.ndarray
    classes: list
    unlabelled: int = 0


# The pictures and the backbones.


def load(config):
    """Returns the `Data`."""
    if config.data.images is None:
        images, y, letters = finetune_letters.load()
        x = np.repeat(images, 3, axis=-1)
        few, rest = finetune_letters.draw_split(10, y, 0)
        return Data(x[few], y[few], None, x[rest], y[rest], letters)
    found = own_pictures.load(config.data)
    train, test, more = found.train, found.test, found.unlabelled
    rng, share = np.random.default_rng(0), min(1, config.most / len(train))
    ours = [np.flatnonzero(train.labels == label) for label in np.unique(train.labels)]
    kept = np.sort(np.concatenate([rng.permutation(rows)[: math.ceil(share * len(rows))] for rows in ours]))
    if share < 1:
        print(f"{len(kept)} of {len(train)} labelled pictures choose; --most takes more", flush=True)
    train = train.subset(kept)
    unlabelled = 0 if more is None else len(more)
    return Data(train[:], train.labels, train.groups, test, test.labels, list(found.class_names), unlabelled)


def names_of(config):
    """Returns the names of the backbones."""
    own = config.data.images is not None
    names = config.backbones or ("small_cnn", "applications:MobileNetV2" if own else "letters")
    if own and "letters" in names:
        raise ValueError("Expected `letters` without --images: it has learned letters; received it with --images.")
    return names


def label(name):
    """Returns how a backbone is called in reports: without the folders of one machine."""
    kind, _, rest = name.partition(":")
    return f"{kind}:{pathlib.PurePath(rest).stem}" if kind in ("hub", "file") else name


def arm_label(arm):
    """Returns how an arm, a pair of backbone and family, is called in reports."""
    return f"{label(arm[0])}, {arm[1]}"


def pretrain():
    """Returns a small CNN that has learned to read Greek and Cyrillic letters, in three channels."""
    pretrained = finetune_letters.pretrain(finetune_letters.Config())
    encoder = kt.backbones.small_cnn((28, 28, 3))
    first, *rest = pretrained.get_weights()
    encoder.set_weights([np.repeat(first, 3, axis=2) / 3, *rest])
    return encoder


def changes(config):
    """Returns layers that change a picture and leave what it shows."""
    if config.data.images is None:
        return finetune_letters.changes()
    change = [layers.RandomBrightness(0.15), layers.RandomTranslation(0.1, 0.1), layers.RandomZoom((-0.3, 0.1))]
    return [*change, layers.RandomRotation(0.04), layers.RandomContrast(0.2), *_mirror(config)]


def _mirror(config):
    return [layers.RandomFlip("horizontal")] if config.mirror else []


# What it costs.


def speed(encoder, images):
    """Returns the seconds that a picture takes through a backbone, once it is compiled."""
    batch = images[:BATCH]
    encoder.predict_on_batch(batch)
    start = time.perf_counter()
    encoder.predict_on_batch(batch)
    return (time.perf_counter() - start) / len(batch)


def check_budget(config, speeds, rows):
    """Raises an error where the budget is too short for scores and logistic regressions, and says what fits.

    Args:
        config: settings.
        speeds: `{backbone: seconds for a picture}`.
        rows: int, labelled pictures.
    """
    scoring = sum(speeds.values()) * rows / 60
    slowest = sorted(speeds.values())[-config.candidates :]
    regressions = sum(slowest) * rows * config.views / 60
    if scoring + regressions <= config.minutes:
        return
    told = ", ".join(f"{label(name)} {one * rows / 60:.2g}" for name, one in speeds.items())
    fits = "not even that fits" if scoring > config.minutes else "that alone fits, and chooses nothing"
    raise ValueError(
        f"Expected --minutes of at least {math.ceil(10 * (scoring + regressions)) / 10:g}; received {config.minutes}. "
        f"To see {rows} labelled pictures once takes {scoring:.2g} minutes ({told}): {fits}. The logistic regressions "
        f"on {config.views} views of them take {regressions:.2g} more. Fewer --backbones, --candidates, --views or "
        "--most take less."
    )


def expected_seconds(config, speed_of, rows):
    """Returns about how long one fine-tuning takes, with all that it chooses."""
    fits = len(config.rates) + 2
    return TRACING + (rows * config.views + fits * STEP * config.steps * BATCH) * speed_of


# The report.


def verdict(config, data, report, chosen, left_out):
    """Returns what to do, in words.

    Args:
        config: settings.
        data: `Data`.
        report: `kt.report.TransferReport` of the folds.
        chosen: pair of the backbone and the family that are recommended.
        left_out: list of sentences on what did not fit into the budget.
    """
    name, family = chosen
    best = arm_label(chosen)
    told = f"{100 * report.scores(best).mean():.1f} % of held-out pictures"
    if family != TUNED:
        tried = any(arm.endswith(TUNED) for arm in report.methods)
        why = "nothing fine-tuned tells more" if tried else "nothing was fine-tuned"
        lines = [f"Stay with the logistic regression: {best}, {told}; {why}."]
    else:
        lines = [f"Fine-tune {label(name)}: {told}. {report.sentence(best)}"]
    lines += left_out
    own = f"--images {config.data.images}"
    if data.unlabelled:
        more = f"`keras-transfer pretrain {own}` learns from them, and is the next thing to try."
        lines.append(f"{data.unlabelled} pictures without labels were not used: {more}")
    if config.data.images is not None and family == TUNED:
        lines.append(f"To fine-tune at length: keras-transfer fine-tune {own} --backbone {name}")
    return "\n".join(lines)


def table(scores):
    """Yields a line of LogME, H-score and seconds for each backbone, best first."""
    width = max(len(label(name)) for name in scores)
    for name in shortlist(scores, len(scores)):
        one = scores[name]
        yield f"  {label(name):<{width}}  {one['log_me']:8.3f}  {one['h_score']:8.3f}  {one['seconds']:6.1f} s"


def scores_figure(scores):
    """Draws LogME of each backbone."""
    figure = Figure(figsize=(5.4, 0.4 * len(scores) + 1.2), layout="constrained")
    panel = figure.subplots()
    order = shortlist(scores, len(scores))[::-1]
    panel.barh([label(name) for name in order], [scores[name]["log_me"] for name in order])
    panel.set_xlabel("LogME: log evidence of a picture's label")
    return figure


def candidate(config, data, name, encoder):
    """Returns a backbone that learns. An untrained one trains as a whole, any other in its upper half."""
    settings = {"depths": (1.0 if name == "small_cnn" else 0.5,), "rates": config.rates, "steps": (config.steps,)}
    augment = keras.Sequential(changes(config))
    settings |= {"batch_size": BATCH, "verbose": False}
    return Candidate(name, encoder, data.x, data.y, data.groups, augment, config.views, settings)


def fine_tuned(config, run, candidates, folds, speeds, spent):
    """Returns what fine-tuning tells of each fold, as far as the budget goes, and sentences on what did not fit.

    Args:
        config: settings.
        run: `runs.Run`.
        candidates: list of `Candidate`, best first.
        folds: pairs of the places that train and that are held out.
        speeds: `{backbone: seconds for a picture}`.
        spent: float, seconds that are spent.

    Returns:
        Tuple of `{(backbone, family): {fold: metrics}}` and a list of str.
    """
    metrics, left_out = {}, []
    for one in candidates:
        each, found = expected_seconds(config, speeds[one.name], len(one.y)), {}
        for number, fold in enumerate(folds):
            more = each * (len(folds) - number + 1)  # and all labelled pictures at the end
            if spent + more > 60 * config.minutes:
                left_out.append(
                    f"Fine-tuning of {label(one.name)} did not fit: it takes about {more / 60:.1f} minutes more than "
                    f"the {spent / 60:.1f} that are spent. --minutes {math.ceil((spent + more) / 60)} has it."
                )
                break
            print(f"{label(one.name)}, {TUNED}, fold {number + 1} of {len(folds)}", flush=True)
            measure = lambda one=one, fold=fold: (one.compare(TUNED, *fold), {})  # noqa: E731
            found[number] = run.part(f"{one.name}, {TUNED}, {number}", measure, number)[0]
            each = found[number]["seconds"]
            spent += each
        if len(found) == len(folds):
            metrics[one.name, TUNED] = found
    return metrics, left_out


def main(config):
    """Scores, compares, reports, exports and verifies; returns the report's dict."""
    names, own = names_of(config), config.data.images is not None
    run = runs.Run(config, "choose_backbone", pathlib.Path(config.data.images).stem if own else "letters")
    data = load(config)
    folds = folds_of(data.y, data.groups, config.folds)
    pretrained = run.part("pretraining", lambda: ({}, {"letters": pretrain()}))[1] if "letters" in names else {}
    keras.utils.set_random_seed(0)
    encoders = {name: pretrained.get(name) or kt.backbones.load(name, data.x.shape[1:]) for name in names}
    speeds = run.part("speed", lambda: ({name: speed(one, data.x) for name, one in encoders.items()}, {}))[0]
    check_budget(config, speeds, len(data.y))

    def scored(name):
        start = time.perf_counter()
        found = score(kt.backbones.cached_features(encoders[name], data.x, verbose=False), data.y)
        return found | {"seconds": time.perf_counter() - start}, {}

    scores = {name: run.part(f"score, {name}", lambda name=name: scored(name))[0] for name in names}
    print("\n".join(["Before training: LogME, H-score, seconds", *table(scores)]), flush=True)
    candidates = [candidate(config, data, name, encoders[name]) for name in shortlist(scores, config.candidates)]
    start, metrics = time.perf_counter(), {}
    for family in (PLAIN, VIEWS):  # what costs less before what costs more
        for one in candidates:
            for number, fold in enumerate(folds):
                measure = lambda one=one, family=family, fold=fold: (one.compare(family, *fold), {})  # noqa: E731
                measured = run.part(f"{one.name}, {family}, {number}", measure, number)[0]
                metrics.setdefault((one.name, family), {})[number] = measured
    spent = sum(one["seconds"] for one in scores.values()) + time.perf_counter() - start
    more, left_out = fine_tuned(config, run, candidates, folds, speeds, spent)
    metrics |= more

    held_out = {arm: float(np.mean([one["accuracy"] for one in found.values()])) for arm, found in metrics.items()}
    chosen, regression = recommend(held_out), recommend({arm: held_out[arm] for arm in metrics if arm[1] != TUNED})
    by_name = {one.name: one for one in candidates}
    models = {arm: by_name[arm[0]].model(arm[1]) for arm in dict.fromkeys((chosen, regression))}
    logits = {arm: predict(model, data.test) for arm, model in models.items()}
    tests = {arm_label(arm): float((one.argmax(-1) == data.test_labels).mean()) for arm, one in logits.items()}
    extra = {"scores": {label(name): one for name, one in scores.items()}, "test": tests, "left_out": left_out}
    extra |= {"chosen": arm_label(chosen), "pictures": len(data.y)}
    plain_alone = not more  # then views are what is compared
    baselines = [arm_label(arm) for arm in metrics if arm[1] == PLAIN or (arm[1] == VIEWS and not plain_alone)]
    by_arm = {arm_label(arm): found for arm, found in metrics.items()}
    report = kt.report.TransferReport(by_arm, baselines, "accuracy", extra)
    shown, truth = data.test[:200], data.test_labels[:200]
    views = np.clip(np.array(by_name[chosen[0]].augment(data.x[:200].astype("float32"), training=True)), 0, 255).astype(
        "uint8"
    )
    figures = {
        "samples": pictures.samples({"labelled": data.x[:200], "views": views}),
        "scores": scores_figure(scores),
        "predictions": pictures.predictions(shown, truth, logits[chosen][:200], data.classes),
    }
    print("", verdict(config, data, report, chosen, left_out), sep="\n")
    for arm, told in tests.items():
        print(f"In the test, which chose nothing: {arm}, {100 * told:.1f} % of {len(data.test_labels)} pictures")
    exported = {"model": models[chosen], "x": shown, "classes": data.classes, "metrics": metrics[chosen]}
    return run.finish(report, figures, **exported)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

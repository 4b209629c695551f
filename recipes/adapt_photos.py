"""Adapts a classifier of labelled pictures to a domain without labels, and exports what that domain likes best.

    keras-transfer adapt
    keras-transfer adapt --source catalogue --target my_photos --backbone applications:MobileNetV2

Without folders nothing is downloaded: simulated printed digits to real handwritten ones, in about 2 minutes on two
cores. `--source` has one folder for each class, or is a CSV file; `--target` is any folder of pictures, all of which
are used without labels. Where it has the same class folders, `--target-labels` tests on them, and on nothing else.

A pretrained backbone runs once over all pictures; what trains is a small network on its features, in seconds. These
are standardised by each domain's own mean and deviation, which alone does most. The baselines: `logistic_regression`,
of scikit-learn, its penalty chosen by cross-validation on the source, on features standardised by the source;
`logistic_regression_scaled`, the same on features standardised by each domain; `logistic_regression_coral`, the same
on features of the source that are given the target's covariance too; and `source_only`, the network of the methods
without a method. Of `small_cnn` all weights train, and the regressions see the features of `source_only`.

Without labels of the target, what can be said is how sure and how diverse the predictions are, how often each class is
predicted, and how far the domains are apart. Of `source_only` and the methods, the one whose predictions tell most
(mutual information of inputs and predictions, mean over the seeds) is exported: of those that are not trained on this
very score, as `information` is, where there are others; a regression's confidence is its penalty's, which compares with
nothing. The predictions for all pictures of the target are in `predictions.csv` in the run's folder.

Measured numbers: `results/adapt_photos/<case>.json`; how the settings were chosen: `selection.json` there.
"""

import csv
import dataclasses
import functools
import io
import pathlib
import time
from typing import Literal

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import domains, own_pictures, pictures, runs
from keras_transfer.recipes.domains import Arm, Domain, chain, predict

BASELINES = ("logistic_regression", "logistic_regression_scaled", "logistic_regression_coral", "source_only")
MOST = 300  # pictures of each domain that are shown


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    source: pathlib.Path | None = None
    """Labelled pictures: a folder with one folder for each class, `<class>/*.jpg`, or a CSV file; by default digits."""
    target: pathlib.Path | None = None
    """Pictures of the domain that counts, without labels: a folder, all below it too, whatever its names."""
    target_labels: bool = False
    """The target lies in folders of the source's classes, which serve the test alone."""
    image_column: str = "path"
    """Column of the CSV file that holds the pictures' paths, which start from its folder."""
    label_column: str = "label"
    """Column of the CSV file that holds the classes."""
    group_column: str | None = None
    """Column of the CSV file that says which pictures belong together, such as a patient or a camera: all of a group
    train, or all test."""
    group_by_folder: bool = False
    """Pictures of one folder below a class, `<class>/<group>/*.jpg`, belong together: all train, or all test."""
    test_share: float = 0.2
    """Share of the source's pictures that test, at most .5."""
    image_size: int = 128
    """Side in pixels that your pictures are reduced to: the largest centred square of each."""
    skip_unreadable: bool = False
    """Go on without pictures that cannot be read; by default they are listed and nothing trains."""
    backbone: str = "small_cnn"
    """The network from your pictures to features: `small_cnn`, which trains here, with all pictures in memory; or one
    that is pretrained and stays as it is: `applications:MobileNetV2` (ImageNet weights, which Keras downloads),
    `hub:<folder or handle>`, `keras_hub:<preset>` or `file:<path>.keras`."""
    method: tuple[Literal[tuple(domains.PEAKS)], ...] = ("mcc",)
    """Methods to train, one or more: terms of the target's predictions (`mcc`, `information`, `bnm`), or what brings
    the features of both domains together."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of every arm for each; at least two, for an interval."""
    steps: int = 400
    """Training steps of each run, rounded up to whole epochs."""
    batch_size: int = 64
    """Pictures of the source, and as many of the target, in a step; fewer where there are fewer."""
    learning_rate: float = 1e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    ramp: float = 0.4
    """Share of the steps in which the weight of the adaptation rises."""
    runs: pathlib.Path = pathlib.Path("runs/adapt_photos")
    """Folder in which each run makes a folder with its report, predictions, histories and pictures."""
    saved_models: pathlib.Path = pathlib.Path("saved_models")
    """Folder for the export, `<saved_models>/adapt_photos/<version>/`."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/adapt_photos/<case>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{"source": Domain, "source_test": Domain, "target": Domain}`, the classes, and the backbone or None."""
    if config.source is None:
        train, test = (kt.datasets.printed_digits(n, seed=seed) for seed, n in enumerate((4000, 1000)))
        found = {"source": train, "source_test": test, "target": kt.datasets.digits(image_size=28)}
        return {name: Domain(x, x, y) for name, (x, y) in found.items()}, tuple("0123456789"), None
    if config.target is None:
        raise ValueError(f"Expected --target, a folder of pictures, with --source {config.source}; received none.")
    ours, known = ({field.name for field in dataclasses.fields(of)} for of in (config, own_pictures.Options))
    options = own_pictures.Options(images=config.source, **{name: getattr(config, name) for name in ours & known})
    own_pictures.check_apart(options, config.target)
    source = own_pictures.load(options)
    target, labels = own_pictures.load_target(options, config.target), None
    if config.target_labels:
        labels = labels_of(target, config.target, source.class_names)
    print(f"{len(target)} pictures of the target, {'labelled' if config.target_labels else 'without labels'}")
    files = {"source": source.train, "source_test": source.test, "target": target}
    if config.backbone == "small_cnn":
        backbone, rows = None, {name: images[:] for name, images in files.items()}
        files = rows
    else:
        backbone = own_pictures.backbone(options, trainable=False)
        rows = {name: kt.backbones.cached_features(backbone, images) for name, images in files.items()}
    told = {"source": source.train.labels, "source_test": source.test.labels, "target": labels}
    data = {name: Domain(files[name], rows[name], told[name]) for name in files}
    data["source"] = data["source"]._replace(groups=source.train.groups)
    data["target"] = data["target"]._replace(paths=target.paths)
    return data, source.class_names, backbone


def labels_of(files, folder, class_names):
    """Returns the labels of a target's pictures by their class folders, -1 for others; says which classes it lacks.

    Args:
        files: `kt.datasets.ImageFiles` without labels.
        folder: path of the target.
        class_names: names of the source's classes.
    """
    listed = kt.datasets.image_files(folder, class_names=class_names)
    number = dict(zip(listed.paths, listed.labels.tolist()))
    labels = np.array([number.get(path, -1) for path in files.paths])
    lacking = [name for label, name in enumerate(class_names) if label not in labels]
    if lacking:
        print(f"Classes of which the target has no picture: {', '.join(lacking)}")
    return labels


def main(config):
    """Trains and tests every arm, exports what the target likes best, and verifies; returns the record."""
    if len(config.seeds) < 2:
        raise ValueError(f"Expected at least 2 seeds for an interval; received {config.seeds}.")
    own = config.source is not None
    case = f"{config.source.stem}_{config.target.stem}" if own and config.target else "printed_handwritten"
    run, (data, classes, backbone) = runs.Run(config, "adapt_photos", case), load(config)
    frozen, first = backbone is not None, config.seeds[0]
    metrics, shares, histories, arms = {}, {}, {}, {}

    def kept(name, arm, seed):
        return {f"{name}-{part}": network for part, network in arm._asdict().items()} if seed == first else {}

    def network(arm, seed):
        start = time.perf_counter()
        trained, history = domains.train(config, arm, seed, data, len(classes), frozen)
        found = domains.test(trained, data, time.perf_counter() - start)
        networks, tested = kept(arm, trained, seed), {arm: found}
        if arm == "source_only" and not frozen:
            more, encoders = regression(seed, trained.source)
            tested, networks = more["tests"] | tested, encoders | networks
        return {"tests": tested, "histories": {arm: history}}, networks

    def regression(seed, encoder=None):
        start = time.perf_counter()
        fitted = domains.regressions(data, encoder)
        seconds = time.perf_counter() - start
        tested = {name: domains.test(arm, data, seconds) for name, arm in fitted.items()}
        networks = [kept(name, arm, seed) for name, arm in fitted.items()]
        return {"tests": tested, "histories": {}}, networks[0] | networks[1]

    parts = [
        (arm, seed, functools.partial(network, arm)) for arm in ("source_only", *config.method) for seed in config.seeds
    ]
    if frozen:
        parts.insert(0, ("regressions", first, regression))  # the same for every seed
    for name, seed, compute in parts:
        found, networks = run.part(f"{name}, seed {seed}", functools.partial(compute, seed), seed)
        for arm, (measured, predicted) in found["tests"].items():
            for one in config.seeds if name == "regressions" else (seed,):
                metrics.setdefault(arm, {})[one] = measured
            shares.setdefault(arm, dict(zip(classes, predicted)))
            if f"{arm}-head" in networks:
                arms[arm] = Arm(*(networks[f"{arm}-{part}"] for part in Arm._fields))
        for arm, history in found["histories"].items():
            histories.setdefault(arm, []).append(history)
    metrics = {arm: metrics[arm] for arm in (*BASELINES, *config.method)}
    scores = {
        arm: float(np.mean([one["target_information"] for one in metrics[arm].values()]))
        for arm in ("source_only", *config.method)
    }
    chosen = domains.choose(scores)
    extra = {"exported": chosen, "chosen_by": scores, "predicted": shares, "histories": histories}
    before = [] if backbone is None else [backbone]
    model = chain(data["target"].images.shape[1:], *before, arms[chosen].target, arms[chosen].head)
    logits = predict(arms[chosen].head, predict(arms[chosen].target, data["target"].rows))
    if own:
        write_predictions(run.folder / "predictions.csv", config.target, data["target"].paths, logits, classes)
    figures, images = draw(data, arms, chosen, logits, classes, histories), data["target"].images
    export = {"x": images[:64], "requests": [images[-16:]], "classes": classes, "metrics": metrics[chosen]}
    export |= {"tolerance": 1e-4} if frozen else {}
    sure = ", ".join(f"{arm} {score:.3f}" for arm, score in scores.items())
    print(f"\nExported: {chosen}, by the information of the predictions for the target in nats: {sure}.")
    if data["target"].labels is not None:
        report = kt.report.TransferReport(metrics, BASELINES, extra=extra)
        return run.finish(report, figures, model=model, **export)
    record = {"metrics": metrics, **extra}
    return run.finish(record, figures, unlabelled(case, metrics, shares[chosen]), model=model, **export)


def unlabelled(case, metrics, shares):
    """Returns a table of what can be said without labels of the target."""
    names = list(next(iter(next(iter(metrics.values())).values())))
    lines = [["", *(name.replace("_", " ") for name in names)]]
    for arm, runs_of_arm in metrics.items():
        lines.append([arm, *(f"{np.mean([one[name] for one in runs_of_arm.values()]):.3f}" for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    order = sorted(shares, key=shares.get, reverse=True)
    most = ", ".join(f"{name} {100 * shares[name]:.0f} %" for name in order[:5])
    never = [name for name in order if not shares[name]]
    more = [f"Never predicted: {', '.join(never)}."] if never else []
    told = "No accuracy of the target is known: it has no labels. Mean of the seeds; information in nats, at most "
    return "\n".join([case, *table, f"{told}{np.log(len(shares)):.2f}.", f"Predicted most: {most}.", *more])


def write_predictions(path, folder, files, logits, classes):
    """Writes a CSV file of each picture's path from a folder, its class, and the probability of that.

    Args:
        path: path of the CSV file.
        folder: folder of the pictures.
        files: their paths.
        logits: array `(n, classes)`.
        classes: names of the classes.
    """
    p, text = np.asarray(keras.ops.softmax(logits)), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "class", "probability"])
    for file, row in zip(files, p):
        writer.writerow([file.relative_to(folder).as_posix(), classes[row.argmax()], f"{row.max():.4f}"])
    kt.report.write_whole(path, text.getvalue().encode())


def draw(data, arms, chosen, logits, classes, histories):
    """Returns samples, embeddings before and after, learning curves, and with labels confusion matrices."""
    names, labels = ("source", "target"), data["target"].labels
    order = [np.random.default_rng(0).permutation(len(data[name].rows))[:MOST] for name in names]
    told = [data["source"].labels, logits.argmax(-1) if labels is None else np.where(labels < 0, len(classes), labels)]
    before = "logistic_regression"
    features = {
        arm: [predict(network, data[name].rows[few]) for network, name, few in zip(arms[arm], names, order)]
        for arm in (before, chosen)
    }
    figures = {
        "samples": pictures.samples({name: data[name].images[few[:48]] for name, few in zip(names, order)}),
        "embedding": pictures.embedding(features, [of[few] for of, few in zip(told, order)], names),
        "curves": pictures.curves(histories),
    }
    if labels is not None:
        known = labels >= 0
        answers = predict(arms[before].head, predict(arms[before].target, data["target"].rows)).argmax(-1)
        shown = {before: answers[known], chosen: logits.argmax(-1)[known]}
        figures["confusion"] = pictures.confusion(labels[known], shown, classes)
    return figures


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Adapts the features of a pretrained backbone between the domains of PACS: every pair, every method.

    python -m keras_transfer.recipes.studies.adapt_domains --backbone hub:<folder of MobileNet>

PACS is read from `KERAS_TRANSFER_DATA`: photographs, cartoons and art paintings of the same seven classes. The backbone
runs once over each domain. A fifth of the source is held out; all of the target is adapted to without labels, and its
labels are the test. What trains is that of `recipes/adapt_photos.py`. A few seconds for each training on one core,
about 8 minutes in all.

Of each pair, the method whose predictions for the target carry most information is `chosen`, which needs no label; one
that is trained on this very score is left out. The one that is best on the target's labels is the `oracle`. Measured
numbers: `results/adapt_domains/pacs.json`.
"""

import dataclasses
import functools
import itertools
import pathlib
import time
from typing import Literal

import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import domains, pictures, runs
from keras_transfer.recipes.adapt_photos import BASELINES

DOMAINS, METHODS = ("photo", "art_painting", "cartoon"), tuple(domains.PEAKS)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    backbone: str
    """The pretrained network: `hub:<folder or handle>`, `applications:<name>` or `file:<path>.keras`."""
    domains: tuple[Literal["photo", "art_painting", "cartoon"], ...] = DOMAINS
    """Domains of which all ordered pairs are run."""
    method: tuple[Literal[METHODS], ...] = METHODS
    """Methods to train."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of every arm for each; at least two, for an interval."""
    image_size: int = 128
    """Side in pixels that the pictures are reduced to."""
    steps: int = 400
    """Training steps of each run, rounded up to whole epochs."""
    batch_size: int = 64
    """Pictures of the source, and as many of the target, in a step."""
    learning_rate: float = 1e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    ramp: float = 0.4
    """Share of the steps in which the weight of the adaptation rises."""
    runs: pathlib.Path = pathlib.Path("runs/adapt_domains")
    """Folder in which each run makes a folder with its report and pictures."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/adapt_domains/pacs.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns `{domain: (features, labels)}`."""
    shape = (config.image_size, config.image_size, 3)
    backbone, found = kt.backbones.load(config.backbone, shape, trainable=False), {}
    for domain in config.domains:
        images, labels = kt.datasets.pacs(domain, config.image_size)
        found[domain] = kt.backbones.cached_features(backbone, images), labels
    return found


def pair_of(source, target):
    """Returns `{"source": Domain, "source_test": Domain, "target": Domain}` of features and labels."""
    order = np.random.default_rng(0).permutation(len(source[1]))
    parts = {"source_test": order[: len(order) // 5], "source": order[len(order) // 5 :]}
    data = {name: domains.Domain(source[0][rows], source[0][rows], source[1][rows]) for name, rows in parts.items()}
    return data | {"target": domains.Domain(*target[:1], *target)}


def measure(config, data, classes):
    """Returns `{arm: {seed: metrics}}` of all arms of a pair."""
    start = time.perf_counter()
    fitted = domains.regressions(data)
    seconds = time.perf_counter() - start
    metrics = {name: dict.fromkeys(config.seeds, domains.test(arm, data, seconds)[0]) for name, arm in fitted.items()}
    for arm, seed in itertools.product(("source_only", *config.method), config.seeds):
        start = time.perf_counter()
        trained, _ = domains.train(config, arm, seed, data, classes, frozen=True)
        metrics.setdefault(arm, {})[seed] = domains.test(trained, data, time.perf_counter() - start)[0]
    return metrics


def summary(reports):
    """Returns means over the pairs of what each arm gets, of the arm that is chosen and of the best one, the oracle.

    Args:
        reports: `{pair: report's dict}`.
    """
    every = list(reports.values())
    arms = {arm: [report["means"][arm]["target_accuracy"] for report in every] for arm in every[0]["means"]}
    found = {arm: float(np.mean(accuracies)) for arm, accuracies in arms.items()}
    chosen = [report["means"][report["extra"]["chosen"]]["target_accuracy"] for report in every]
    oracle = [max(mean["target_accuracy"] for mean in report["means"].values()) for report in every]
    return found | {"chosen": float(np.mean(chosen)), "oracle": float(np.mean(oracle))}


def main(config, load=load):
    """Runs every pair of what `load` returns, reports and draws; returns the record."""
    if len(config.seeds) < 2 or len(config.domains) < 2:
        raise ValueError(f"Expected at least 2 seeds and 2 domains; received {config.seeds} and {config.domains}.")
    run, data, reports = runs.Run(config, "adapt_domains", "pacs"), load(config), {}
    classes = len(kt.datasets.PACS_CLASSES)
    for source, target in itertools.permutations(config.domains, 2):
        pair = f"{source}_{target}"
        compute = functools.partial(measure, config, pair_of(data[source], data[target]), classes)
        metrics = run.part(pair, lambda compute=compute: (compute(), {}))[0]
        metrics = {arm: {int(seed): found for seed, found in of.items()} for arm, of in metrics.items()}
        score = {arm: np.mean([one["target_information"] for one in of.values()]) for arm, of in metrics.items()}
        chosen = domains.choose({arm: score[arm] for arm in ("source_only", *config.method)})  # not the regressions
        report = kt.report.TransferReport(metrics, BASELINES, extra={"chosen": chosen})
        reports[pair] = report.to_dict()
        print(f"{pair}\n{report}", flush=True)
    means = summary(reports)
    text = "\n".join(f"{arm:28}{100 * accuracy:.1f}" for arm, accuracy in means.items())
    shown = ("logistic_regression_scaled", "source_only", config.method[0])
    accuracies = {
        arm: {
            pair: [one["target_accuracy"] for one in report["runs"][arm].values()] for pair, report in reports.items()
        }
        for arm in shown
    }
    return run.finish({"reports": reports, "means": means}, {"accuracies": pictures.accuracies(accuracies)}, text)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

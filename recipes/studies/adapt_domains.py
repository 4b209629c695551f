"""Adapts features between the domains of a data set: every pair, every method.

    python -m keras_transfer.recipes.studies.adapt_domains --backbone hub:<folder of MobileNet>
    python -m keras_transfer.recipes.studies.adapt_domains --data office_caltech
    python -m keras_transfer.recipes.studies.adapt_domains --data amazon_reviews
    python -m keras_transfer.recipes.studies.adapt_domains --data sentiment --method dann dan mcc

`pacs`: photographs, cartoons and art paintings of the same seven classes, as features of a backbone, which runs once
over each domain; a fifth of the source is held out. `office_caltech`: ten classes of objects in four collections, as
histograms of SURF features; all of the source trains, as is usual, and its accuracy is that of training.
`amazon_reviews`: the sentiment of 2,000 reviews of each of three kinds of products, as the tf-idf of 5,000 words, which
is not standardised; a fifth of the source is held out. `sentiment`: that of sentences of film reviews and of tweets, as
the features of all-MiniLM-L6-v2 (extra `text`); a fifth of the source is held out.
All of the target is adapted to without labels, and its labels are the test. What trains is that of
`recipes/adapt_photos.py`. Both read `KERAS_TRANSFER_DATA`. A few seconds for each training on one core.

Of each pair, the method whose predictions for the target carry most information is `chosen`, which needs no label; one
that is trained on this very score is left out. The one that is best on the target's labels is the `oracle`. Measured
numbers: `results/adapt_domains/<data>.json`.
"""

import dataclasses
import itertools
import pathlib
import time
from typing import Literal

import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import domains, pictures, runs
from keras_transfer.recipes.adapt_photos import BASELINES

DOMAINS = {
    "pacs": ("photo", "art_painting", "cartoon"),
    "office_caltech": kt.datasets.OFFICE_CALTECH_DOMAINS,
    "amazon_reviews": kt.datasets.AMAZON_DOMAINS,
    "sentiment": ("sentences", "tweets"),
}
METHODS = tuple(domains.PEAKS)
LENGTH = 20.0  # of the tf-idf of a text


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one run."""

    data: Literal[tuple(DOMAINS)] = "pacs"
    """What is adapted between its domains."""
    backbone: str = ""
    """The pretrained network for pictures: `hub:<folder or handle>`, `applications:<name>` or `file:<path>.keras`."""
    domains: tuple[str, ...] | None = None
    """Domains of which all ordered pairs are run; by default all of the data."""
    method: tuple[Literal[METHODS], ...] = METHODS
    """Methods to train."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training of every arm for each; at least two, for an interval."""
    image_size: int = 128
    """Side in pixels that the pictures are reduced to."""
    steps: int = 400
    """Training steps of each run, rounded up to whole epochs."""
    batch_size: int = 64
    """Rows of the source, and as many of the target, in a step."""
    learning_rate: float = 1e-3
    """The learning rate of Adam at the start of a cosine decay to 0."""
    ramp: float = 0.4
    """Share of the steps in which the weight of the adaptation rises."""
    runs: pathlib.Path = pathlib.Path("runs/adapt_domains")
    """Folder in which each run makes a folder with its report and pictures."""
    results: pathlib.Path | None = None
    """Folder that also gets the report, as `<results>/adapt_domains/<data>.json`; by default none."""
    resume: pathlib.Path | None = None
    """Folder of an interrupted run to go on with, `<runs>/<name>`, with the same settings; by default a new run."""


def load(config):
    """Returns a function of two domains that returns `{"source": Domain, "source_test": Domain, "target": Domain}`."""
    names = config.domains or DOMAINS[config.data]
    if config.data == "office_caltech":
        found = {name: kt.datasets.office_caltech(name) for name in names}
        shares = {name: (counts / counts.sum(1, keepdims=True), labels) for name, (counts, labels) in found.items()}
        return lambda source, target: pair_of(shares[source], shares[target], held_out=False)
    if config.data == "amazon_reviews":
        counts = {name: kt.datasets.amazon_reviews(name) for name in names}
        return lambda source, target: pair_of(*words(counts[source], counts[target]))
    if config.data == "sentiment":
        encoder, texts = kt.backbones.minilm(sequence_length=64), sentiment()
        found = {name: (encoder.predict(x, batch_size=64, verbose=0), y) for name, (x, y) in texts.items()}
        return lambda source, target: pair_of(found[source], found[target])
    if not config.backbone:
        raise ValueError("Expected --backbone, the pretrained network for pictures; received none.")
    shape, found = (config.image_size, config.image_size, 3), {}
    backbone = kt.backbones.load(config.backbone, shape, trainable=False)
    for name in names:
        images, labels = kt.datasets.pacs(name, config.image_size)
        found[name] = kt.backbones.cached_features(backbone, images), labels
    return lambda source, target: pair_of(found[source], found[target])


def sentiment():
    """Returns sentences and tweets with their sentiment, negative or positive; neutral tweets are left out."""
    x, y = kt.datasets.tweet_eval("sentiment", "test")
    return {"sentences": kt.datasets.sst("train"), "tweets": (x[y != 1], (y[y != 1] == 2).astype("int32"))}


def words(*domains):
    """Returns domains of counts and labels with the tf-idf of the words in place of the counts.

    What is rare is told from all rows, which needs no label. Rows have one length, at which an entry is about as large
    as a standardised one where it is not 0.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    weigh = TfidfTransformer(sublinear_tf=True).fit(np.concatenate([counts for counts, _ in domains]))
    return [(LENGTH * weigh.transform(counts).toarray().astype("float32"), labels) for counts, labels in domains]


def pair_of(source, target, held_out=True):
    """Returns `{"source": Domain, "source_test": Domain, "target": Domain}` of features and labels.

    Args:
        source: features and labels.
        target: features and labels.
        held_out: bool, whether a fifth of the source tests and does not train; otherwise all of it does both.
    """
    order = np.random.default_rng(0).permutation(len(source[1]))
    fifth = len(order) // 5
    parts = (
        {"source_test": order[:fifth], "source": order[fifth:]} if held_out else {"source_test": order, "source": order}
    )
    data = {name: domains.Domain(source[0][rows], source[0][rows], source[1][rows]) for name, rows in parts.items()}
    return data | {"target": domains.Domain(*target[:1], *target)}


def measure(config, data):
    """Returns `{arm: {seed: metrics}}` of all arms of a pair, and what choosing the epoch costs."""
    start, classes, histories = time.perf_counter(), len(np.unique(data["source"].labels)), {}
    standardise = config.data != "amazon_reviews"
    fitted = domains.regressions(data, standardise=standardise)
    seconds = time.perf_counter() - start
    found = {name: domains.test(arm, data, seconds)[0] for name, arm in fitted.items()}
    found = {**({"nearest_neighbour": domains.nearest_neighbour(data)} if standardise else {}), **found}
    metrics = {name: dict.fromkeys(config.seeds, one) for name, one in found.items()}
    for arm, seed in itertools.product(("source_only", *config.method), config.seeds):
        start = time.perf_counter()
        trained, history = domains.train(config, arm, seed, data, classes, frozen=standardise, oracle=True)
        metrics.setdefault(arm, {})[seed] = domains.test(trained, data, time.perf_counter() - start)[0]
        histories.setdefault(arm, []).append(history)
    return {"metrics": metrics, "epochs": domains.epochs_chosen(histories)}


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
    names = config.domains or DOMAINS[config.data]
    if len(config.seeds) < 2 or len(names) < 2 or not set(names) <= set(DOMAINS[config.data]):
        raise ValueError(
            f"Expected at least 2 seeds and 2 domains, among {DOMAINS[config.data]}; received {config.seeds} and "
            f"{names}."
        )
    run, pair_of, reports = runs.Run(config, "adapt_domains", config.data), load(config), {}
    for source, target in itertools.permutations(names, 2):
        pair = f"{source}_{target}"
        found = run.part(pair, lambda pair=(source, target): (measure(config, pair_of(*pair)), {}))[0]
        metrics = {arm: {int(seed): one for seed, one in of.items()} for arm, of in found["metrics"].items()}
        score = {arm: np.mean([one["target_information"] for one in of.values()]) for arm, of in metrics.items()}
        chosen = domains.choose({arm: score[arm] for arm in ("source_only", *config.method)})  # not the regressions
        extra = {"chosen": chosen, "epochs": found["epochs"]}
        baselines = [arm for arm in ("nearest_neighbour", *BASELINES) if arm in metrics]
        report = kt.report.TransferReport(metrics, baselines, extra=extra)
        reports[pair] = report.to_dict()
        print(f"{pair}\n{report}", flush=True)
    means = summary(reports)
    text = "\n".join(f"{arm:28}{100 * accuracy:.1f}" for arm, accuracy in means.items())
    shown = [arm for arm in ("logistic_regression_scaled", "source_only", config.method[0]) if arm in means]
    accuracies = {
        arm: {
            pair: [one["target_accuracy"] for one in report["runs"][arm].values()] for pair, report in reports.items()
        }
        for arm in shown
    }
    return run.finish({"reports": reports, "means": means}, {"accuracies": pictures.accuracies(accuracies)}, text)


if __name__ == "__main__":
    runs.command(main, Config, __doc__)

"""Every measured gain by family: the best of a family for the README, the best of a case for the picture."""

import itertools
import json
import statistics
from typing import NamedTuple

import keras_transfer as kt
from keras_transfer.recipes.tables.rows import CONTINUAL, METHODS, SEMI, TEXT, ZERO_SHOT, records, verdict

FAMILIES = {
    "adaptation": "Domain adaptation",
    "finetuning": "Fine-tuning with few labels",
    "self_supervised": "Encoders from unlabelled images",
    "text": "Texts, few labels or none",
    "zero_shot": "Classes never seen",
    "semi_supervised": "Few labels and many rows without",
    "multitask": "Several tasks in one encoder",
    "continual": "One domain after another",
    "weightings": "Weightings of two tasks",
}
PACS = {"photo": "photographs", "art_painting": "paintings", "cartoon": "cartoons"}
TEXTS = {"trec": "questions", "sst2": "film reviews", "emotion": "emotion of tweets"}
CASES = {
    "printed_handwritten": "printed to handwritten digits",
    "digits_photos": "digits to digits on photographs",
    "usps_mnist": "USPS to MNIST",
    "mnist_usps": "MNIST to USPS",
    "mnist_mnistm": "MNIST to MNIST-M",
    **{f"{a}_{b}": f"{PACS[a]} to {PACS[b]}" for a, b in itertools.permutations(PACS, 2)},
    **{f"art_painting_{n}": f"paintings, {n} labels a class" for n in (2, 10, 50)},
    **{f"cartoon_{n}": f"cartoons, {n} labels a class" for n in (2, 10, 50)},
    **{f"glyphs_{n}": f"letters, {n} labels a class" for n in (2, 10, 50)},
    "fashion_mnist_simclr, 10": "garments, 10 labels a class, SimCLR",
    "fashion_mnist_simclr, 60": "garments, 60 labels a class, SimCLR",
    "fashion_mnist_mae, 60": "garments, 60 labels a class, MAE",
    "glyphs_shared_encoder_equal": "letters",
    "multi_fashion_shared_encoder_equal": "two garments",
    **{f"{data}_{n}": f"{name}, {n} labels a class" for data, name in TEXTS.items() for n in (8, 64)},
    "sentences_tweets": "sentences to tweets",
    "tweets_sentences": "tweets to sentences",
    "glyphs_styles_generalised": "letters in other fonts",
    "glyphs_family": "letters in another family",
    "emoji_random": "emoji",
    "emoji_style": "emoji in another style",
    "emoji_subcategories": "emoji of other kinds",
    "fashion_mnist_10_scratch": "garments, 10 labels a class, new encoder",
    "mnist_10_scratch": "digits, 10 labels a class, new encoder",
    "fashion_mnist_10": "garments, 10 labels a class, stages",
    "fashion_mnist_60": "garments, 60 labels a class, stages",
    "pacs_10": "paintings, 10 labels a class, features",
    "digits": "printed, then handwritten digits",
}
ARMS = {
    **METHODS,
    **CONTINUAL,
    **SEMI,
    **ZERO_SHOT,
    "student": "student",
    **{arm: TEXT[arm] for arm in ("descriptions", "setfit", "lora", "full")},
    "tuned": "chosen by cross-validation",
    "half": "upper half",
    "half_interpolated": "upper half, interpolated",
    "quarter": "upper quarter",
    "quarter_interpolated": "upper quarter, interpolated",
    "two_thirds": "upper two thirds",
    "two_thirds_interpolated": "upper two thirds, interpolated",
    "all": "all weights",
    "all_interpolated": "all weights, interpolated",
    "lp_ft": "LP-FT",
    "fine_tuned": "fine-tuned",
    "uncertainty": "Uncertainty",
    "mgda": "MGDA",
    "cagrad": "CAGrad",
}


class Measured(NamedTuple):
    """A gain over the baseline of its case, in points of % with its 95 % interval, and what may be said of it."""

    family: str
    case: str
    arm: str
    mean: float
    low: float
    high: float
    verdict: str

    @property
    def name(self):
        """Where what was measured, in words."""
        return f"{CASES.get(self.case, self.case)}, {ARMS.get(self.arm, self.arm)}"

    def __str__(self):
        return f"{self.name}: {self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def measured(results):
    """Yields every gain that a report keeps, in the order of the families.

    Args:
        results: pathlib.Path of the folder of results.
    """
    for folder, family in (("adapt_digits", "adaptation"), ("tune_photos", "finetuning")):
        for case, report in records(results / folder):
            yield from _gains(report, family, case)
    for _, record in records(results / "adapt_domains"):
        for pair, report in record["reports"].items():
            yield from _gains(report, "adaptation", pair)
    for case, record in records(results / "pretrain_views"):
        for labels, report in record["reports"].items():
            kept = {arm: gain for arm, gain in report["gains"].items() if arm != "chosen"}  # it is one of the others
            yield from _gains({**report, "gains": kept}, "self_supervised", f"{case}, {labels}")
    for case, record in records(results / "classify_text"):
        yield from _gains(record, "text", case)
    for case, record in records(results / "recognise_unseen"):
        yield from _gains(record, "zero_shot", case)
    for case, record in records(results / "learn_from_few"):
        yield from _gains(record, "semi_supervised", case)
    for case, record in records(results / "train_tasks"):
        for task, report in record["reports"].items():
            for gain in _gains(report, "multitask", case):
                yield gain._replace(arm=task)
    for case, record in records(results / "learn_domains"):
        yield from _gains(record, "continual", case)
    for case, record in records(results / "balance_tasks"):
        yield from _gains(record["report"], "weightings", case, scale=1)


def _gains(report, family, case, scale=100):
    for arm, gain in report["gains"].items():
        numbers = (scale * gain[name] for name in ("mean", "low", "high"))
        yield Measured(family, case, arm, *numbers, verdict(report, arm))


def best(gains):
    """Returns the gain whose interval begins highest."""
    return max(gains, key=lambda gain: gain.low)


def best_of_cases(results):
    """Returns the best arm of each case, and each task that was learned with others, best first in each family."""
    found = {}
    for gain in measured(results):
        case = (gain.case, gain.arm) if gain.family == "multitask" else gain.case
        found.setdefault((gain.family, case), []).append(gain)
    order = list(FAMILIES)
    return sorted(map(best, found.values()), key=lambda gain: (order.index(gain.family), -gain.mean))


def sinusoids(results, steps=10):
    """Returns the error of each network after each number of steps, and how much lower that of MAML is at the end.

    Args:
        results: pathlib.Path of the folder of results.
        steps: int, gradient steps after which the networks are compared.

    Returns:
        Dict of networks to lists of the median over seeds, and a `kt.report.Gain` of squared errors, paired by seed.
    """
    errors = json.loads((results / "maml_sinusoid/10.json").read_text(encoding="utf-8"))["mean_squared_error"]
    medians = {arm: [statistics.median(at) for at in zip(*curves)] for arm, curves in errors.items()}
    before, after = ([curve[steps] for curve in errors[arm]] for arm in ("pretrained", "maml"))
    return medians, kt.report.paired_gain(before, after)

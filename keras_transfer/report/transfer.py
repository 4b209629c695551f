"""The transfer report: methods against the better baseline over paired seeds, with a verdict in words."""

import io
import json
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_transfer.checks import check_number
from keras_transfer.files import write_whole

CONFIDENCE = 0.95
ACCURACY_MARGIN = 0.01
GAIN, NEGATIVE, NO_DIFFERENCE, INCONCLUSIVE = "gain", "negative transfer", "no difference", "inconclusive"
# From Okabe & Ito's palette, which colour-blind readers can tell apart.
COLORS = {GAIN: "#0072B2", NEGATIVE: "#D55E00", NO_DIFFERENCE: "#555555", INCONCLUSIVE: "#CC79A7"}


class Gain(NamedTuple):
    """Mean paired gain of a method over a baseline with its 95 % confidence interval, in the unit of the scores.

    Attributes:
        mean: float.
        low: float, where the interval begins.
        high: float, where it ends.
        margin: float, the largest difference that counts as none, in the same unit; None: none is stated.
    """

    mean: float
    low: float
    high: float
    margin: float | None = None

    @property
    def verdict(self):
        """What may be said, by the interval alone.

        `"gain"`: it lies above 0. `"negative transfer"`: below 0. `"no difference"`: it holds 0 and lies between
        -margin and +margin. `"inconclusive"`: it reaches further, or no margin is stated: more seeds may tell.
        """
        if self.low > 0 or self.high < 0:
            return GAIN if self.low > 0 else NEGATIVE
        within = self.margin is not None and -self.margin <= self.low and self.high <= self.margin
        return NO_DIFFERENCE if within else INCONCLUSIVE


def default_margin(metric):
    """Returns the margin of a metric where none is stated: 0.01, one point, for accuracies; None for any other.

    Args:
        metric: its name; those that end in `accuracy` are fractions.
    """
    return ACCURACY_MARGIN if metric.endswith("accuracy") else None


def paired_gain(method, baseline, margin=None):
    """Returns the gain of a method over a baseline that ran on the same seeds, with Student's paired t interval (95 %).

    Args:
        method: scores `(seeds,)` of the method, higher is better; at least 2.
        baseline: scores `(seeds,)` of the baseline, in the same order of seeds.
        margin: float of at least 0, the largest difference that counts as none; None: none is stated, and what is
            neither gain nor negative transfer is inconclusive.

    Returns:
        A `Gain`.

    Raises:
        ValueError: if the shapes differ, there are fewer than 2 seeds, a score is not finite, or the margin is
            negative.

    Example:
        >>> paired_gain([0.80, 0.82, 0.81], [0.70, 0.71, 0.69]).verdict
        'gain'
    """
    margin = None if margin is None else check_number(margin, "margin", least=0)
    method, baseline = np.asarray(method, "float64"), np.asarray(baseline, "float64")
    if method.ndim != 1 or method.shape != baseline.shape:
        raise ValueError(f"Expected one score per seed for both; received shapes {method.shape} and {baseline.shape}.")
    if len(method) < 2:
        raise ValueError(f"Expected at least 2 seeds for a confidence interval; received {len(method)}.")
    if not np.isfinite([method, baseline]).all():
        raise ValueError(f"Expected finite scores; received {method.tolist()} and {baseline.tolist()}.")
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError("Confidence intervals need scipy: pip install 'keras_transfer[recipes]'") from error
    gains = method - baseline
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(gains) - 1)
    mean, half = float(gains.mean()), float(quantile * gains.std(ddof=1) / len(gains) ** 0.5)
    return Gain(mean, mean - half, mean + half, margin)


class TransferReport:
    """Holds methods against a baseline over paired seeds: one table, one picture, and a verdict on every method.

    Each method is compared, seed by seed, with the baseline of the highest mean: choosing among the baselines by the
    very metric that is reported can only help the baseline. The intervals are not widened for the number of methods.

    A verdict is one of four, see `Gain.verdict`: gain, negative transfer, no difference (the interval lies within the
    stated margin), inconclusive (it does not: few seeds say little).

    Metrics named `...accuracy` are fractions in [0, 1], shown in % and their gain in points; `seconds` is shown as
    time in s; any other as it is.

    Args:
        runs: `{arm: {seed: {metric: value}}}`: baselines and methods, every arm with the same seeds (integers, at
            least 2), every run with the same metrics (finite).
        baselines: name or names of the arms that are baselines.
        metric: name of the metric that is compared; higher is better.
        margin: float of at least 0, the largest difference of the metric that counts as none, in its unit; None: 0.01,
            one point, for accuracies, and none for other metrics.
        extra: what else belongs to the record (config, history), a dict kept in `report.json`: arrays and tuples
            become lists there, and what JSON does not know becomes its string.

    Raises:
        ValueError: if there is no baseline, no method or no such metric, the seeds or metrics of two arms differ,
            there are fewer than 2 seeds, a value is not finite, an accuracy lies outside [0, 1], or the margin is
            negative.

    Example:
        >>> runs = {
        ...     "source-only": {0: {"target_accuracy": 0.61}, 1: {"target_accuracy": 0.64}},
        ...     "DANN": {0: {"target_accuracy": 0.78}, 1: {"target_accuracy": 0.82}},
        ... }
        >>> report = TransferReport(runs, baselines="source-only")
        >>> print(report)
        >>> report.save("runs/adapt_digits")
    """

    def __init__(self, runs, baselines, metric="target_accuracy", extra=None, margin=None):
        self.baselines = [baselines] if isinstance(baselines, str) else list(baselines)
        self.metric = metric
        _check(runs, self.baselines, metric)
        self.margin = default_margin(metric) if margin is None else check_number(margin, "margin", least=0)
        self.runs = {
            arm: {int(seed): {name: float(value) for name, value in run.items()} for seed, run in sorted(seeds.items())}
            for arm, seeds in runs.items()
        }
        self.extra = json.loads(json.dumps(extra or {}, default=lambda v: getattr(v, "tolist", v.__str__)()))

    @property
    def methods(self):
        """Names of the arms that are not baselines."""
        return [arm for arm in self.runs if arm not in self.baselines]

    @property
    def baseline(self):
        """Name of the baseline with the highest mean: the one that every method is held against."""
        return max(self.baselines, key=lambda arm: self.scores(arm).mean())

    @property
    def seeds(self):
        """The seeds of every arm, ascending."""
        return list(self.runs[self.baselines[0]])

    @property
    def metrics(self):
        """Names of the metrics of every run."""
        return list(self.runs[self.baselines[0]][self.seeds[0]])

    def scores(self, arm, metric=None):
        """Returns the values `(seeds,)` of one arm, by ascending seed; `metric` is by default the one compared."""
        return np.array([run[metric or self.metric] for run in self.runs[arm].values()])

    def gain(self, method):
        """Returns the `Gain` of a method over `baseline`, in the unit of the metric (of accuracies: a fraction)."""
        return paired_gain(self.scores(method), self.scores(self.baseline), self.margin)

    def sentence(self, method):
        """Returns the verdict on a method in one sentence."""
        name = self.metric.replace("_", " ")
        return f"{method}: {self.gain(method).verdict}, {self._gain_text(method)} in {name} over {self.baseline}."

    def __str__(self):
        """Returns one aligned table with its units, and under it a verdict on every method."""
        rows = [["", *(_display(metric).heading for metric in self.metrics), "gain", "verdict"]]
        for arm in self.baselines + self.methods:
            gain = [self._gain_text(arm), self.gain(arm).verdict] if arm in self.methods else ["", ""]
            star = " *" if arm == self.baseline else ""
            rows.append([arm + star, *(self._mean_text(arm, metric) for metric in self.metrics), *gain])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        notes = [
            f"Mean ± standard deviation over {len(self.seeds)} seeds ({', '.join(map(str, self.seeds))}); "
            f"gain over the baseline (*) with its 95 % interval, paired by seed.",
            self._margin_text(),
            *map(self.sentence, self.methods),
        ]
        return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:], "", *notes])

    def draw(self):
        """Returns a `matplotlib.figure.Figure`: per method the seeds' scores as paired dots, the means as bars."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("Pictures need matplotlib: pip install 'keras_transfer[recipes]'") from error
        figure = Figure(figsize=(max(5, 3.4 * len(self.methods)), 4.4), layout="constrained")
        panels = figure.subplots(1, len(self.methods), sharey=True, squeeze=False)[0]
        display = _display(self.metric)
        baseline = display.scale * self.scores(self.baseline)
        for panel, method in zip(panels, self.methods):
            scores, verdict = display.scale * self.scores(method), self.gain(method).verdict
            panel.plot([0, 1], [baseline, scores], "-o", color=COLORS[verdict], alpha=0.6, linewidth=1, markersize=5)
            ends = [-0.2, 0.8], [0.2, 1.2]
            panel.hlines([baseline.mean(), scores.mean()], *ends, color=COLORS[verdict], linewidth=3)
            panel.set_title(f"{method}: {verdict}\n{self._gain_text(method)}", fontsize=10)
            panel.set_xticks([0, 1], [textwrap.fill(arm.replace("_", " "), 16) for arm in (self.baseline, method)])
            panel.set_xlim(-0.5, 1.5)
            panel.grid(axis="y", alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(display.heading)
        legend = f"dots: {len(self.seeds)} seeds, paired by lines; bars: means; brackets: 95 % interval"
        width = round(13 * figure.get_figwidth())  # letters of this size in a line
        legend = "\n".join(textwrap.fill(line, width) for line in (legend, self._margin_text()))
        figure.supxlabel(legend, fontsize=9)
        return figure

    def to_dict(self):
        """Returns all raw values, what was computed from them, and `extra`, ready for JSON."""
        gains = {method: self.gain(method) for method in self.methods}
        values = {arm: {metric: self.scores(arm, metric) for metric in self.metrics} for arm in self.runs}
        return {
            "metric": self.metric,
            "baselines": self.baselines,
            "baseline": self.baseline,
            "confidence": CONFIDENCE,
            "margin": self.margin,
            "gains": {method: {**gain._asdict(), "verdict": gain.verdict} for method, gain in gains.items()},
            "means": {arm: {m: float(v.mean()) for m, v in row.items()} for arm, row in values.items()},
            "deviations": {arm: {m: float(v.std(ddof=1)) for m, v in row.items()} for arm, row in values.items()},
            "runs": {arm: {str(seed): dict(run) for seed, run in seeds.items()} for arm, seeds in self.runs.items()},
            "extra": self.extra,
        }

    def save(self, folder):
        """Writes `report.json` and `report.png` into `folder`, each whole or not at all, in place of earlier ones."""
        picture = io.BytesIO()
        self.draw().savefig(picture, format="png", dpi=120)
        folder = Path(folder)
        self.write(folder / "report.json")
        write_whole(folder / "report.png", picture.getvalue())

    def write(self, path):
        """Writes `to_dict()` as the JSON file `path`, whole or not at all, in place of an earlier one."""
        write_whole(path, f"{json.dumps(self.to_dict(), indent=2)}\n".encode())

    @classmethod
    def load(cls, path):
        """Returns the report in a `report.json`; what was computed from the raw values is computed anew."""
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
        runs = {arm: {int(seed): run for seed, run in seeds.items()} for arm, seeds in saved["runs"].items()}
        return cls(runs, saved["baselines"], saved["metric"], saved["extra"], saved.get("margin"))

    def _mean_text(self, arm, metric):
        display, scores = _display(metric), self.scores(arm, metric)
        return " ± ".join(f"{display.scale * value:{display.digits}}" for value in (scores.mean(), scores.std(ddof=1)))

    def _margin_text(self):
        if self.margin is None:
            return "No margin of no difference is stated: what is neither gain nor negative transfer is inconclusive."
        display = _display(self.metric)
        size = f"{display.scale * self.margin:.3g}{display.gain_unit}"
        return f"No difference: the interval lies within ±{size}; inconclusive: it reaches further."

    def _gain_text(self, method):
        display = _display(self.metric)
        mean, low, high = (f"{display.scale * value:+{display.digits}}" for value in self.gain(method)[:3])
        return f"{mean} [{low}, {high}]{display.gain_unit}"


class _Display(NamedTuple):
    heading: str
    scale: float
    digits: str
    gain_unit: str


def _display(metric):
    words = metric.replace("_", " ")
    if metric.endswith("accuracy"):
        return _Display(f"{words} (%)", 100, ".1f", " points")
    if metric == "seconds":
        return _Display("time (s)", 1, ".1f", " s")
    return _Display(words, 1, ".4g", "")


def _check(runs, baselines, metric):
    if not baselines or not set(baselines) < set(runs):
        raise ValueError(f"Expected baselines and at least one method among arms {list(runs)}; received {baselines=}.")
    first = baselines[0]
    for arm, seeds in runs.items():
        odd = sorted(set(seeds) ^ set(runs[first]))
        if odd:
            raise ValueError(f"Expected {first!r} and {arm!r} on the same seeds; received {odd} for only one of them.")
        if len(seeds) < 2:
            raise ValueError(f"Expected at least 2 seeds for an interval; received {list(seeds)} for {arm!r}.")
        names = set(next(iter(runs[first].values()))) | {metric}
        for seed, run in seeds.items():
            if set(run) != names:
                raise ValueError(f"Expected metrics {sorted(names)}; received {sorted(run)} for {arm!r}, seed {seed}.")
            for name, value in run.items():
                if not np.isfinite(value):
                    raise ValueError(f"Expected a finite {name}; received {value} for {arm!r}, seed {seed}.")
                if name.endswith("accuracy") and not 0 <= value <= 1:
                    raise ValueError(f"Expected {name} in [0, 1]; received {value} for {arm!r}, seed {seed}.")

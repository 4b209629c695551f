"""The tasks of a table: their labels, what is measured of them, and the baselines that need no network."""

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import table_network

SHARED, SINGLE, LINEAR, TREES = "shared", "single", "linear", "boosted trees"  # arms
PENALTIES, FOLDS = (0.01, 0.1, 1.0), 3  # of the logistic regression: inverse ones, and parts of the cross-validation
MARGIN = 0.01  # the largest difference that counts as none: a point of accuracy, a hundredth of the variance


class Labels:
    """The labels of tasks as they are trained: numbers of classes, and values of mean 0 and deviation 1.

    Args:
        table: `own_table.Table` of the rows that train.
    """

    def __init__(self, table):
        self.classes = {table_network.served_name(task): names for task, names in table.classes.items()}
        values = {table_network.served_name(task): labels for task, labels in table.labels.items()}
        self.tasks = tuple(values)
        self.scale = {
            task: (float(np.nanmean(labels)), max(float(np.nanstd(labels)), 1e-6))
            for task, labels in values.items()
            if task not in self.classes
        }

    def of(self, table):
        """Returns `{task: labels (rows,)}`, -1 for a class that is missing, NaN for a value."""
        given = {table_network.served_name(task): labels for task, labels in table.labels.items()}
        return {
            task: labels if task in self.classes else (labels - self.scale[task][0]) / self.scale[task][1]
            for task, labels in given.items()
        }

    def check(self, y):
        """Raises an error where a side lacks labels of a task, so that nothing could be learned or measured.

        Args:
            y: `{side: {task: labels}}`.
        """
        for side, labels in y.items():
            for task in self.tasks:
                several = set(labels[task][self.there(task, labels[task])].tolist())
                least = 1 if task in self.classes and side == "test" else 2
                if len(several) < least:
                    raise ValueError(
                        f"Expected at least {least} different labels of the task {task!r} among the rows of {side}; "
                        f"received {len(several)}."
                    )

    def there(self, task, labels):
        """Returns which labels of a task are not missing."""
        return labels >= 0 if task in self.classes else ~np.isnan(labels)

    def metric(self, task):
        """Returns the name of the metric of a task: `r2` is the share of the variance that is explained."""
        return "accuracy" if task in self.classes else "r2"

    def score(self, task, labels, predictions):
        """Returns the metric of a task over the labels that are there."""
        there = self.there(task, labels)
        if task in self.classes:
            return float((predictions.argmax(-1) == labels)[there].mean())
        wrong = np.square(predictions.reshape(-1) - labels)[there].sum()
        return float(1 - wrong / np.square(labels[there] - labels[there].mean()).sum())

    def loss(self, task):
        """Returns the loss of a task."""
        if task in self.classes:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return keras.losses.MeanSquaredError()

    def missing(self):
        """Returns the label of each task that stands for none."""
        return {task: -1 if task in self.classes else float("nan") for task in self.tasks}


def without_network(labels, task, x, y, test):
    """Returns the metric of a task for a linear model of a cross-validated penalty, and for boosted trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    rows, tests = (
        np.concatenate([part for part in x[side].values() if part.ndim == 2], axis=1) for side in ("train", "test")
    )
    there, known = labels.there(task, y[task]), labels.there(task, test[task])
    rows, answers = rows[there], y[task][there]
    if task in labels.classes:
        line, _ = kt.metrics.tuned_probe(rows, answers, penalties=PENALTIES, folds=FOLDS)
        with threadpool_limits(1):  # several wait for one another where the machine is busy
            trees = HistGradientBoostingClassifier(random_state=0).fit(rows, answers)
        fitted = {LINEAR: line, TREES: trees}
        return {arm: float(one.score(tests[known], test[task][known])) for arm, one in fitted.items()}
    line = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 15))).fit(rows, answers)
    with threadpool_limits(1):
        trees = HistGradientBoostingRegressor(random_state=0).fit(rows, answers)
    return {arm: labels.score(task, test[task], one.predict(tests)) for arm, one in ((LINEAR, line), (TREES, trees))}


def arms_of(task, tests, plain):
    """Returns `{arm: {seed: score}}` of one task; a model that is no network is the same for each seed."""
    arms = {SINGLE: {seed: found[task] for seed, found in tests[task].items()}}
    arms |= {arm: dict.fromkeys(arms[SINGLE], score) for arm, score in plain.get(task, {}).items()}
    return arms | {SHARED: {seed: found[task] for seed, found in tests[SHARED].items()}}


def report(metric, arms):
    """Returns the report of one task: the shared model against the better of its baselines."""
    named = {arm: {seed: {metric: score} for seed, score in found.items()} for arm, found in arms.items()}
    return kt.report.TransferReport(named, [arm for arm in arms if arm != SHARED], metric, margin=MARGIN)


def advice(by_task):
    """Returns in words what sharing brings beside a network for each task, and where no network is the best.

    Args:
        by_task: `{task: what arms_of returned}`, of at least two seeds.
    """
    lines = ["Shared, beside a network of its own for each task:"]
    for task, arms in by_task.items():
        gain = kt.report.paired_gain(*([*arms[arm].values()] for arm in (SHARED, SINGLE)), margin=MARGIN)
        lines.append(f"  {task}: {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], {gain.verdict}")
    means = {task: {arm: np.mean([*seeds.values()]) for arm, seeds in arms.items()} for task, arms in by_task.items()}
    best = {task: max(found, key=found.get) for task, found in means.items()}
    plain = [f"{task} ({arm})" for task, arm in best.items() if arm not in (SHARED, SINGLE)]
    return "\n".join(lines + ([f"Better without a network: {', '.join(plain)}"] if plain else []))

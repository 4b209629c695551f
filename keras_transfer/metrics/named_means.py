"""Means of scalars by name, for logs whose names come as they are computed."""

import keras
from keras import ops

_MORE = 256


class NamedMeans(keras.metrics.Metric):
    """Keeps the mean of each of several scalars, those that nobody announced too.

    All sums lie in one variable, made at the start: inside a traced step, on replicas and under JAX no new ones can be.
    A scalar counts by its weight, that of nothing, such as a loss in a batch without labels, by 0.

    A total can be kept by its parts, each weighed for itself: it is the sum of their means. So a loss of several tasks,
    each of which is a mean over its own labels, does not depend on how the rows fall into batches.

    Args:
        names: names that are known already; 256 more may come.
        **kwargs: `name` of the metric.

    Raises:
        ValueError: in an update, if there are more names.
    """

    def __init__(self, names=(), **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.places = {name: place for place, name in enumerate(names)}
        self.updated = set()  # names since `start`, known while a step is traced
        self.state = self.add_variable((2, len(self.places) + _MORE), "zeros", name="sums_and_counts")

    def start(self):
        """Forgets which names were updated, at the start of a step."""
        self.updated.clear()

    def update_state(self, values, sample_weight=1.0, total=None):
        """Adds one value to the mean of each name.

        Args:
            values: `{name: scalar}`.
            sample_weight: scalar, how much each counts, or `{name: scalar}`.
            total: None, or the name whose parts the values are; `result` does not show them, see `total`.
        """
        size = self.state.shape[1]
        places = {}
        for name in values:
            places[name] = self.places.setdefault(name if total is None else (total, name), len(self.places))
            if places[name] >= size:
                raise ValueError(f"Expected at most {_MORE} names that were not announced; received {name!r} besides.")
        if total is None:
            self.updated.update(values)
        names = sorted(values, key=places.get)
        first, last = places[names[0]], places[names[-1]]
        if last - first >= len(names):  # others lie between
            for name in names:
                weight = sample_weight[name] if isinstance(sample_weight, dict) else sample_weight
                self.update_state({name: values[name]}, weight, total)
            return
        if isinstance(sample_weight, dict):
            weight = ops.stack([ops.cast(sample_weight[name], "float32") for name in names])
        else:
            weight = ops.cast(sample_weight, "float32")
        found = ops.stack([ops.cast(values[name], "float32") for name in names])  # few operations: they are in the step
        more = weight * ops.stack([found, ops.ones_like(found)])
        self.state.assign_add(ops.pad(more, [[0, 0], [first, size - 1 - last]]))

    def result(self):
        """Returns `{name: mean}`, 0 where there was no update since the last reset."""
        return {name: mean for name, (mean, _) in self._means().items() if isinstance(name, str)}

    def total(self, name):
        """Returns the sum of the means of a total's parts and how much the parts count, or None if it has none."""
        parts = [pair for key, pair in self._means().items() if isinstance(key, tuple) and key[0] == name]
        return tuple(sum(values) for values in zip(*parts)) if parts else None

    def counted(self):
        """Returns the names that have a mean now; outside of traced functions."""
        counts = self.state.numpy()[1]
        return {name for name, place in self.places.items() if counts[place] and isinstance(name, str)}

    def _means(self):
        """The mean and the count of each name, and of each part of a total."""
        if not self.places:
            return {}
        sums, counts = ops.unstack(ops.convert_to_tensor(self.state)[:, : len(self.places)], 2)
        number = len(self.places)
        return dict(
            zip(self.places, zip(ops.unstack(ops.divide_no_nan(sums, counts), number), ops.unstack(counts, number)))
        )

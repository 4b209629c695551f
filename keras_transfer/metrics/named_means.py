"""Means of scalars by name, for logs whose names come as they are computed."""

import keras
from keras import ops

_MORE = 256


class NamedMeans(keras.metrics.Metric):
    """Keeps the mean of each of several scalars, those that nobody announced too.

    All sums lie in one variable, made at the start: inside a traced step, on replicas and under JAX no new ones can be.

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

    def update_state(self, values, sample_weight=1.0):
        """Adds one value to the mean of each name.

        Args:
            values: `{name: scalar}`.
            sample_weight: scalar, how much each counts.
        """
        size = self.state.shape[1]
        for name in values:
            if self.places.setdefault(name, len(self.places)) >= size:
                raise ValueError(f"Expected at most {_MORE} names that were not announced; received {name!r} besides.")
        self.updated.update(values)
        weight = ops.cast(sample_weight, "float32")
        names = sorted(values, key=self.places.get)
        first, last = self.places[names[0]], self.places[names[-1]]
        if last - first >= len(names):  # others lie between
            for name in names:
                self.update_state({name: values[name]}, sample_weight)
            return
        found = ops.stack([ops.cast(values[name], "float32") for name in names])  # few operations: they are in the step
        more = weight * ops.stack([found, ops.ones_like(found)])
        self.state.assign_add(ops.pad(more, [[0, 0], [first, size - 1 - last]]))

    def result(self):
        """Returns `{name: mean}`, 0 where there was no update since the last reset."""
        if not self.places:
            return {}
        sums, counts = ops.unstack(ops.convert_to_tensor(self.state)[:, : len(self.places)], 2)
        return dict(zip(self.places, ops.unstack(ops.divide_no_nan(sums, counts), len(self.places))))

    def counted(self):
        """Returns the names that have a mean now; outside of traced functions."""
        counts = self.state.numpy()[1]
        return {name for name, place in self.places.items() if counts[place]}

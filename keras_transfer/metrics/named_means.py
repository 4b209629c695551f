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
        self.state = self.add_variable((len(self.places) + _MORE, 2), "zeros", name="sums_and_counts")

    def start(self):
        """Forgets which names were updated, at the start of a step."""
        self.updated.clear()

    def update_state(self, values, sample_weight=1.0):
        """Adds one value to the mean of each name.

        Args:
            values: `{name: scalar}`.
            sample_weight: scalar, how much each counts.
        """
        for name in values:
            if self.places.setdefault(name, len(self.places)) >= self.state.shape[0]:
                raise ValueError(f"Expected at most {_MORE} names that were not announced; received {name!r} besides.")
        self.updated.update(values)
        weight = ops.cast(sample_weight, "float32")
        rows = [ops.stack([weight * ops.cast(value, "float32"), weight]) for value in values.values()]
        places = [[self.places[name]] for name in values]
        self.state.assign_add(ops.scatter(ops.convert_to_tensor(places, "int32"), ops.stack(rows), self.state.shape))

    def result(self):
        """Returns `{name: mean}`, 0 where there was no update since the last reset."""
        sums, counts = ops.unstack(ops.convert_to_tensor(self.state), 2, axis=1)
        means = ops.divide_no_nan(sums, counts)
        return {name: means[place] for name, place in self.places.items()}

    def counted(self):
        """Returns the names that have a mean now; outside of traced functions."""
        counts = self.state.numpy()[:, 1]
        return {name for name, place in self.places.items() if counts[place]}

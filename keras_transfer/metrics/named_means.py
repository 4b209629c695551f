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
        self.parts = {}  # places of the parts of totals, by the total's name and the part's
        self.updated = set()  # names since `start`, known while a step is traced
        self.state = self.add_variable((len(self.places) + _MORE, 2), "zeros", name="sums_and_counts")

    def start(self):
        """Forgets which names were updated, at the start of a step."""
        self.updated.clear()

    def update_state(self, values, sample_weight=1.0, total=None):
        """Adds one value to the mean of each name.

        Args:
            values: `{name: scalar}`.
            sample_weight: scalar, how much each counts, or `{name: scalar}`.
            total: None, or the name whose parts the values are; the parts are not shown.
        """
        weights = sample_weight if isinstance(sample_weight, dict) else dict.fromkeys(values, sample_weight)
        places = [self._place(name, total) for name in values]
        if total is None:
            self.updated.update(values)
        rows = []
        for name, value in values.items():
            weight, value = ops.cast(weights[name], "float32"), ops.cast(value, "float32")
            rows.append(ops.stack([weight * value, weight]))
        places = [[place] for place in places]
        self.state.assign_add(ops.scatter(ops.convert_to_tensor(places, "int32"), ops.stack(rows), self.state.shape))

    def result(self):
        """Returns `{name: mean}`, totals too; 0 where there was no update since the last reset."""
        sums, counts = ops.unstack(ops.convert_to_tensor(self.state), 2, axis=1)
        means = ops.divide_no_nan(sums, counts)
        found = {name: means[place] for name, place in self.places.items()}
        totals = {}
        for (total, _), place in self.parts.items():
            totals[total] = totals.get(total, 0.0) + means[place]
        return {**found, **totals}

    def counted(self):
        """Returns the names that have a mean now; outside of traced functions."""
        counts = self.state.numpy()[:, 1]
        return {name for name, place in self.places.items() if counts[place]}

    def _place(self, name, total):
        kept, key = (self.places, name) if total is None else (self.parts, (total, name))
        place = kept.setdefault(key, len(self.places) + len(self.parts))
        if place >= self.state.shape[0]:
            raise ValueError(f"Expected at most {_MORE} names that were not announced; received {name!r} besides.")
        return place

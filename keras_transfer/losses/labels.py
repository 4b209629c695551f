"""What the labels of a task say: which are there, and the compiled loss of each."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transfer import keras_internals

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


class Reading(NamedTuple):
    """The labels of a task beside its predictions.

    Entries of the last axis that can be missing one by one have become rows of one entry, `(..., entries, 1)`.
    """

    loss: Any  # `keras.losses.Loss`
    label: Any  # tensor, 0 where one is missing
    prediction: Any  # tensor
    values: Any  # losses, float32: one for each label, or each row; a scalar where the loss is one
    weight: Any  # of each value or with axes of 1 instead, 0 for those that are missing; None where each counts 1

    @property
    def whole(self):
        """Whether all labels are there, as many in each row, so that means over labels are means over rows."""
        return self.weight is None and None not in self.values.shape[1:]

    def total(self):
        """Returns the sum of the values by their weights, and the number of labels in it, of this replica."""
        if not self.values.shape:
            rows = ops.cast(ops.shape(self.prediction)[0], "float32")
            return rows * self.values, rows
        weight = self.weight
        weight = ops.ones_like(self.values) if weight is None else ops.broadcast_to(weight, ops.shape(self.values))
        present = weight != 0
        counted = weight if self.loss.reduction == "mean_with_sample_weight" else ops.cast(present, "float32")
        return ops.sum(ops.where(present, weight * self.values, 0.0)), ops.sum(counted)

    def for_metrics(self):
        """Returns label, prediction and weight of shapes that metrics tell apart, or the weight None."""
        label, prediction, weight = self.label, self.prediction, self.weight
        ranks = len(label.shape), len(prediction.shape)
        if ranks[1] == ranks[0] + 1 and prediction.shape[-1] == 1:
            label = label[..., None]
        elif ranks[0] == ranks[1] + 1 and label.shape[-1] == 1:
            prediction = prediction[..., None]
        if weight is None or len(weight.shape) < 2 or len(label.shape) != len(prediction.shape):
            return label, prediction, weight
        if len(weight.shape) == len(label.shape) and label.shape[-1] != 1:
            label, prediction = label[..., None], prediction[..., None]
        if len(weight.shape) == len(label.shape) - 1 and label.shape[-1] == prediction.shape[-1] == 1:
            weight = weight[..., None]
        return label, prediction, weight


def read(task, loss, label, prediction, missing=None, sample_weight=None):
    """Reads the labels of a task as its compiled loss means them.

    Args:
        task: its name, for errors.
        loss: name, function or `keras.losses.Loss`, what `compile` got for it.
        label: tensor `(batch, ...)`, which the loss reads beside the prediction.
        prediction: tensor `(batch, ...)`.
        missing: number that stands for no label, or None.
        sample_weight: array of the first axes of the losses, such as `(batch,)`, or None.

    Returns:
        `Reading`.

    Raises:
        ValueError: if the loss is a sum, or it has no value for each row where labels may be missing or have weights.
    """
    mask, here = keras_internals.mask_of(prediction), present(label, missing)
    shown = prediction
    if here is not None:
        label = ops.where(here, label, ops.zeros_like(label))
        here = keras_internals.same_rank(here, prediction)[0]
    same_label, same_prediction = keras_internals.same_rank(label, prediction)
    loss = keras_internals.resolved_loss(loss, label, prediction)
    if loss.reduction not in MEANS:
        raise ValueError(
            f"Expected the loss of the task {task!r} to be a mean, with a `reduction` among {MEANS}; "
            f"received {loss.reduction!r}."
        )
    if sample_weight is not None:
        sample_weight = ops.cast(sample_weight, "float32")
    rank = len(same_label.shape)
    apart = sample_weight is not None and len(sample_weight.shape) == rank and sample_weight.shape[-1] != 1
    apart = apart or here is not None
    entries = 1 < rank == len(same_prediction.shape) and same_label.shape[-1] != 1
    if apart and entries and keras_internals.is_by_entries(loss):
        label = same_label = same_label[..., None]
        shown = same_prediction = same_prediction[..., None]
    values = loss.call(
        ops.convert_to_tensor(same_label, dtype=loss.dtype), ops.convert_to_tensor(same_prediction, dtype=loss.dtype)
    )
    values = ops.cast(values, "float32")
    weights = [_fit(task, part, values) for part in (sample_weight, here, mask) if part is not None]
    weight = None
    for part in weights:
        weight = part if weight is None else weight * part
    return Reading(loss, label, shown, values, weight)


def present(label, missing):
    """Returns where there are labels; None where none can be missing, as an integer can be no NaN, a byte no -1."""
    dtype = keras.backend.standardize_dtype(label.dtype)
    if missing is None:
        return None
    if "float" in dtype:
        if missing != missing:
            return ops.logical_not(ops.isnan(label))
        return ops.not_equal(label, ops.convert_to_tensor(missing, dtype=dtype))
    if missing != missing or np.array(missing).astype(dtype) != missing:
        return None
    kind = bool if dtype == "bool" else int
    return ops.not_equal(label, ops.convert_to_tensor(kind(missing), dtype=dtype))


def _fit(task, part, values):
    """A weight, or where there are labels, as one float for each value or with axes of 1 instead."""
    rank, shape = len(values.shape), tuple(part.shape)
    if not rank:
        raise ValueError(
            f"Expected the loss of the task {task!r} to have a value for each row, since labels may be missing or have "
            "weights; received one for all rows."
        )
    if keras.backend.standardize_dtype(part.dtype) == "bool":
        if len(shape) > rank:  # the loss joins entries: all of them have to be there
            part = ops.all(part, axis=tuple(range(rank, len(shape))))
        part = ops.cast(part, "float32")
    elif len(shape) > rank and set(shape[rank:]) == {1}:
        part = ops.squeeze(part, axis=tuple(range(rank, len(shape))))
    for _ in range(rank - len(part.shape)):
        part = part[..., None]
    known = [(a, b) for a, b in zip(part.shape, values.shape) if a is not None and b is not None]
    if len(part.shape) > rank or any(a not in (1, b) for a, b in known):
        raise ValueError(
            f"Expected sample weights, and losses, of the task {task!r} for each row or each label; received a "
            f"shape {shape} of weights or labels for losses of {tuple(values.shape)}."
        )
    return part

"""What methods of several tasks share: losses of the labels that are there, their weighting, and what is served."""

import math
import numbers

from keras import ops

from keras_transfer import keras_internals
from keras_transfer.batches import check_inputs, check_labels, check_shape
from keras_transfer.checks import received
from keras_transfer.losses.labels import read
from keras_transfer.model import COUNTS, PREDICTION, REPRESENTATION, TransferModel, stated_outputs
from keras_transfer.networks import all_rows, check_loss, check_networks, number_of_outputs
from keras_transfer.signatures import Signature, embedded, named, own_prediction, predicted, reader
from keras_transfer.weightings.base import Weighting


class MultiTaskModel(TransferModel):
    """Abstract. A method of several tasks: it states what each task's head reads, and which variables tasks share.

    Training batches are `(x, {task: labels})`. A method writes `represent`, which returns what the heads read, and
    `shared_variables`, those that more than one task trains.

    Losses are what `compile` says: names, functions or `keras.losses.Loss`, one or a dict of the tasks, computed in
    float32 of labels and predictions of one rank, as Keras does, and by its `loss_weights`, a dict. A weighting weighs
    what these leave; the logs show each task's loss, weighed by neither, as `<task>_term`.

    All means are over the labels that are there, in a batch and over the batches of an epoch: a task's term, its part
    of the logged `loss` and `val_loss`, and `weighted_metrics`. So `evaluate` gives what one batch of all rows would
    give, whatever the size of batches. The `loss` of `fit` too is the sum of the tasks' means by what they counted in
    each step, and of what else is minimised as a mean over rows. A task without a label in an epoch has no log there.

    Where a label has several entries, each of them can be missing: pixels of an image, where the loss has a value for
    each; entries of the last axis (several labels of a row, several values), where the loss is one of Keras's that is a
    mean over what depends on one entry alone, as the squared error or the binary cross-entropy are. Then metrics too
    see each entry by itself, labels and predictions as `(batch, ..., entries, 1)`, and "accuracy" is
    `BinaryAccuracy`. Any other loss, such as a cross-entropy of one-hot labels or a function of your own, leaves out
    what it joins as soon as one entry is missing.

    Args:
        heads: dict of the tasks' names to networks from what `represent` returns to predictions.
        weighting: a `kt.weightings.Weighting`, of this model alone; None: all tasks count 1.
        missing: label that stands for none, such as -1, or `float("nan")`; None: there is none. A dict of tasks to such
            labels where these differ; a task that it leaves out has all its labels.
        terms: dict of further terms to their weights.

    Raises:
        ValueError: if `heads` is no dict of at least 2 networks, the weighting does not fit them or another model has
            it, or `missing` is no number.
    """

    def __init__(self, heads, weighting=None, missing=None, terms=None, **kwargs):
        check_heads(heads)
        if weighting is not None and not isinstance(weighting, Weighting):
            raise ValueError(f"Expected `weighting` to be a `kt.weightings.Weighting` or None; received {weighting!r}.")
        check_missing(missing, list(heads))
        if weighting is not None:
            weighting.join(list(heads))
        weights = dict.fromkeys(heads, 1.0 if weighting is None else weighting)
        super().__init__({**weights, **(terms or {})}, **kwargs)
        self.heads, self.weighting, self.missing = dict(heads), weighting, missing

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with; what is `missing` passes."""
        check_inputs(x, self.layers)
        losses = self.loss if isinstance(self.loss, dict) else dict.fromkeys(self.heads, self.loss)
        for task in set(self.heads) & set(y if isinstance(y, dict) else ()):
            whole = keras_internals.reads_class_numbers(losses.get(task))
            classes = number_of_outputs(self.heads[task])
            check_labels(y[task], f"labels of the task {task!r}", whole, classes, self._missing(task))

    def represent(self, x, training=False, tasks=None):
        """Returns a dict of what the heads of all or some tasks read; nothing that these do not need is computed."""
        raise NotImplementedError(f"{type(self).__name__} must define `represent`.")

    def answers(self, features, training=False):
        """Returns a dict of the predictions from what `represent` returned, of some tasks or all."""
        return {task: self.heads[task](value, training=training) for task, value in features.items()}

    def infer(self, x, training=False):
        """Returns a dict of the predictions of all tasks."""
        return self.answers(self.represent(x, training), training)

    def forward(self, x, training=False):
        """Returns the predictions, and what the heads read where gradients are combined by that."""
        features = self.represent(x, training)
        outputs = {PREDICTION: self.answers(features, training)}
        if self.weighting is not None and self.weighting.on == REPRESENTATION:
            outputs[REPRESENTATION] = features
        return outputs

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns each task's compiled loss as the mean over the labels that are there, and counts these in `outputs`.

        What is `missing`, or has a weight of 0 for the task, is not there. A batch without a label gives 0.

        Raises:
            ValueError: if labels, losses or weights are not those of the heads; each missing or superfluous is named.
        """
        readings = self._read(y, outputs[PREDICTION], sample_weight)
        totals = {task: reading.total() for task, reading in readings.items()}
        everywhere = all_rows(ops.stack([number for _, number in totals.values()])[None])
        counts = dict(zip(totals, ops.unstack(ops.sum(everywhere, axis=0) / self._replicas, len(totals))))
        if not all(reading.whole for reading in readings.values()):
            outputs[COUNTS] = counts
        least = 1.0 / self._replicas
        return {
            task: ops.divide_no_nan(total, counts[task])
            if readings[task].loss.reduction == "mean_with_sample_weight"
            else total / ops.maximum(counts[task], least)
            for task, (total, _) in totals.items()
        }

    @property
    def combine(self):
        """What the weighting makes of the tasks' gradients; None where it weighs losses."""
        return None if self.weighting is None or self.weighting.on is None else self._combine

    def _combine(self, gradients):
        update = self.weighting.combine({task: gradients[task] for task in self.heads})
        further = [parts for term, parts in gradients.items() if term not in self.heads]
        return [sum(parts) for parts in zip(update, *further)]

    def advance(self, outputs):
        """Logs what the tasks counted in this step, and the cosines between their gradients where these are weighed."""
        if self.weighting is not None:
            for name, value in self.weighting.logs().items():
                self.log(name, value)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Updates the compiled metrics with the labels that are there."""
        unweighted = keras_internals.unweighted_metrics(self) or {}
        tasks = (
            list(self.heads)
            if isinstance(unweighted, (list, tuple))
            else [task for task in unweighted if unweighted[task]]
        )
        if any(self._missing(task) is not None for task in tasks):
            raise ValueError(
                f"Expected metrics of {type(self).__name__} as `weighted_metrics`, since labels may be missing, which "
                "`metrics` would count; received `metrics`."
            )
        if keras_internals.compiled_metrics(self) is None:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        readings = {task: one.for_metrics() for task, one in self._read(y, y_pred, sample_weight).items()}
        labels, predictions, weights = ({task: parts[place] for task, parts in readings.items()} for place in range(3))
        weights = None if all(weight is None for weight in weights.values()) else weights
        return super().compute_metrics(x, labels, predictions, weights)

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns `serving_default`, which answers all tasks, one signature of each task's name, and `embed`.

        Each prediction has the task's name; a task that has `classes`, a dict of the names of those tasks that are
        classifications, or `outputs`, which says what they are, adds `<task>_probabilities`, `<task>_class_id` and
        `<task>_class_name`. A task's own signature computes no other head. `embed` serves the features of the
        `encoder`, where the method has one.
        """
        stated = stated_outputs(self.heads, "heads", classes, outputs)
        taken = set(self.heads) & {"serving_default", "embed"}
        if taken:
            raise ValueError(f"Expected tasks that do not bear the name of a signature; received {sorted(taken)}.")
        request, (encoder, _) = named(x, input_name), self.served
        inputs_of = reader(x, request, prepare)

        def signature(tasks):
            kinds = {task: kind for task, kind in stated.items() if task in tasks}

            def answer(inputs):
                return predicted(self.answers(self.represent(inputs_of(inputs), tasks=tasks)), classes, kinds)

            def expected(inputs):
                every = own_prediction(self, inputs_of(inputs))
                return predicted({task: every[task] for task in tasks}, classes, kinds)

            return Signature(answer, request, expected=expected)

        served = {"serving_default": signature(list(self.heads)), **{task: signature([task]) for task in self.heads}}
        if encoder is not None:
            served["embed"] = Signature(lambda inputs: embedded(encoder(inputs_of(inputs), training=False)), request)
        return served

    def _read(self, y, predictions, sample_weight):
        """The `Reading` of each task."""
        tasks = list(predictions)
        if self.loss is None:
            raise ValueError(f"Expected `{type(self).__name__}.compile` to be called with a `loss`; received None.")
        losses = self.loss if isinstance(self.loss, dict) else dict.fromkeys(tasks, self.loss)
        given = sample_weight if isinstance(sample_weight, dict) else dict.fromkeys(tasks, sample_weight)
        check_names("a compiled loss", losses, tasks)
        check_names("labels", y, tasks)
        check_names("sample weights", given, tasks)
        unfit = {task: loss for task, loss in losses.items() if loss is None or isinstance(loss, (list, tuple, dict))}
        if unfit:
            raise ValueError(f"Expected a compiled loss for each of the tasks {tasks}; received {unfit}.")
        check_loss(losses, self.heads, "heads")
        found = {}
        for task in tasks:
            loss, label, missing = losses[task], ops.convert_to_tensor(y[task]), self._missing(task)
            name = f"labels of the task {task!r}"
            check_shape(label, predictions[task], loss, name)
            check_labels(label, name, keras_internals.reads_class_numbers(loss), missing=missing)  # of known values
            found[task] = read(task, loss, label, predictions[task], missing, given[task])
        return found

    def _missing(self, task):
        return self.missing.get(task) if isinstance(self.missing, dict) else self.missing

    def _scaled(self, terms):
        """The terms by the compiled `loss_weights`."""
        weights = keras_internals.loss_weights(self)
        if weights is None:
            return terms
        check_names("`loss_weights`", weights, list(self.heads))
        return {name: value * weights[name] if name in weights else value for name, value in terms.items()}


def check_heads(heads):
    """Raises an error unless `heads` is a dict of at least 2 tasks to networks."""
    if not isinstance(heads, dict) or len(heads) < 2:
        found = f"{len(heads)} of them" if isinstance(heads, dict) else received(heads)
        raise ValueError(f"Expected `heads` to be a dict of at least 2 tasks to their heads; received {found}.")
    check_parts(heads, "heads")


def check_parts(parts, name, depth=1):
    """Raises an error unless a dict or a list, or one of such to that `depth`, holds networks and nothing else."""
    if not depth:
        check_networks(**{name: parts})
        return
    if not isinstance(parts, dict | list | tuple):
        raise ValueError(f"Expected `{name}` to be a list of networks; received {received(parts)}.")
    for place, part in parts.items() if isinstance(parts, dict) else enumerate(parts):
        check_parts(part, f"{name}[{place!r}]", depth - 1)


def check_names(what, given, tasks):
    """Raises an error unless `given` is a dict with one value for each of the tasks, a list."""
    if not isinstance(given, dict):
        raise ValueError(f"Expected {what} as a dict of the tasks {tasks}; received {type(given).__name__}.")
    lacking, unknown = [task for task in tasks if task not in given], [task for task in given if task not in tasks]
    if lacking or unknown:
        parts = [f"none for {lacking}"] * bool(lacking) + [f"some for {unknown}, which have no head"] * bool(unknown)
        raise ValueError(f"Expected {what} for each of the tasks {tasks}; received {' and '.join(parts)}.")


def check_missing(missing, tasks):
    """Raises an error unless `missing` is a number or None, or a dict of some of the tasks to such."""
    by_task = missing if isinstance(missing, dict) else {None: missing}
    unknown = [task for task in by_task if isinstance(missing, dict) and task not in tasks]
    if unknown:
        raise ValueError(f"Expected `missing` for tasks among {tasks}; received some for {unknown}.")
    for value in by_task.values():
        number = isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isinf(value)
        if value is not None and not number:
            raise ValueError(
                f"Expected `missing` to be a number, NaN or None, or a dict of tasks to such; received {missing!r}."
            )

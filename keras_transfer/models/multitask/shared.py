"""What methods of several tasks share: losses of the labels that are there, their weighting, and what is served."""

import keras
from keras import ops

from keras_transfer import keras_internals
from keras_transfer.model import PREDICTION, REPRESENTATION, TransferModel, stated_outputs
from keras_transfer.networks import all_rows
from keras_transfer.signatures import Signature, embedded, named, own_prediction, predicted, reader


class MultiTaskModel(TransferModel):
    """Abstract. A method of several tasks: it states what each task's head reads, and which variables tasks share.

    Training batches are `(x, {task: labels})`. A method writes `represent`, which returns what the heads read, and
    `shared_variables`, those that more than one task trains.

    Args:
        heads: dict of the tasks' names to networks from what `represent` returns to predictions.
        weighting: a `kt.weightings.Weighting`; None: all tasks count 1.
        missing: label that stands for none, such as -1, or `float("nan")`; None: there is none.
        terms: dict of further terms to their weights.

    Raises:
        ValueError: if `heads` is no dict of at least 2 networks, or the weighting does not fit them.
    """

    def __init__(self, heads, weighting=None, missing=None, terms=None, **kwargs):
        if not isinstance(heads, dict) or len(heads) < 2:
            received = f"{len(heads)} of them" if isinstance(heads, dict) else type(heads).__name__
            raise ValueError(f"Expected `heads` to be a dict of at least 2 tasks to their heads; received {received}.")
        if weighting is not None and not weighting.built:
            weighting.build({task: () for task in heads})
        weights = dict.fromkeys(heads, 1.0 if weighting is None else weighting)
        super().__init__({**weights, **(terms or {})}, **kwargs)
        self.heads, self.weighting, self.missing = dict(heads), weighting, missing

    def represent(self, x, training=False, tasks=None):
        """Returns a dict of what the heads of all or some tasks read; nothing that these do not need is computed."""
        raise NotImplementedError(f"{type(self).__name__} must define `represent`.")

    def answers(self, features, training=False):
        """Returns a dict of the predictions from what `represent` returned, of some tasks or all."""
        return {task: self.heads[task](read, training=training) for task, read in features.items()}

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
        """Returns each task's compiled loss as the mean over the rows that have its label.

        A row whose label is `missing`, or whose weight for the task is 0, has none. A batch without a label gives 0.

        Raises:
            ValueError: if labels, losses or weights are not those of the heads; each missing or superfluous is named.
        """
        predictions = outputs[PREDICTION]
        losses = self.loss if isinstance(self.loss, dict) else dict.fromkeys(predictions, self.loss)
        check_names("a compiled loss", losses, list(predictions))
        labels, weights = self._labels_and_weights(y, list(predictions), sample_weight)
        found = {}
        for task, prediction in predictions.items():
            rows = keras.losses.get(losses[task])
            values = (rows.call if isinstance(rows, keras.losses.Loss) else rows)(labels[task], prediction)
            values = ops.cast(values, "float32")
            values = ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=1)
            weight = ops.ones_like(values) if weights[task] is None else weights[task]
            present = weight != 0
            number = ops.sum(all_rows(ops.cast(present, "float32"))) / self._replicas
            weighted = ops.sum(ops.where(present, weight * values, 0.0))
            found[task] = weighted / ops.maximum(number, 1.0 / self._replicas)
        return found

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
        if self.missing is not None and keras_internals.unweighted_metrics(self) is not None:
            raise ValueError(
                f"Expected metrics of {type(self).__name__} as `weighted_metrics`, since labels may be missing, which "
                "`metrics` would count; received `metrics`."
            )
        labels, weights = self._labels_and_weights(y, list(y_pred), sample_weight)
        weights = None if all(weight is None for weight in weights.values()) else weights
        return super().compute_metrics(x, labels, y_pred, weights)

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
        read = reader(x, request, prepare)

        def signature(tasks):
            kinds = {task: kind for task, kind in stated.items() if task in tasks}

            def answer(inputs):
                return predicted(self.answers(self.represent(read(inputs), tasks=tasks)), classes, kinds)

            def expected(inputs):
                every = own_prediction(self, read(inputs))
                return predicted({task: every[task] for task in tasks}, classes, kinds)

            return Signature(answer, request, expected=expected)

        served = {"serving_default": signature(list(self.heads)), **{task: signature([task]) for task in self.heads}}
        if encoder is not None:
            served["embed"] = Signature(lambda inputs: embedded(encoder(read(inputs), training=False)), request)
        return served

    def _labels_and_weights(self, y, tasks, sample_weight):
        """The labels of each task, 0 where one is missing, and their weights `(batch,)`; None where each counts 1."""
        given = sample_weight if isinstance(sample_weight, dict) else dict.fromkeys(tasks, sample_weight)
        check_names("labels", y, tasks)
        check_names("sample weights", given, tasks)
        labels, weights = {}, {}
        for task in tasks:
            label, weight = ops.convert_to_tensor(y[task]), given[task]
            if weight is not None:
                weight = ops.cast(ops.reshape(weight, (-1,)), "float32")
            if self.missing is not None:
                nan = self.missing != self.missing
                absent = ops.isnan(label) if nan else ops.equal(label, ops.cast(self.missing, label.dtype))
                label = ops.where(absent, ops.zeros_like(label), label)
                here = ops.logical_not(ops.any(ops.reshape(absent, (ops.shape(label)[0], -1)), axis=1))
                here = ops.cast(here, "float32")
                weight = here if weight is None else here * weight
            labels[task], weights[task] = label, weight
        return labels, weights


def check_names(what, given, tasks):
    """Raises an error unless `given` is a dict with one value for each of the tasks, a list."""
    if not isinstance(given, dict):
        raise ValueError(f"Expected {what} as a dict of the tasks {tasks}; received {type(given).__name__}.")
    lacking, unknown = [task for task in tasks if task not in given], [task for task in given if task not in tasks]
    if lacking or unknown:
        parts = [f"none for {lacking}"] * bool(lacking) + [f"some for {unknown}, which have no head"] * bool(unknown)
        raise ValueError(f"Expected {what} for each of the tasks {tasks}; received {' and '.join(parts)}.")

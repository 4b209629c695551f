"""DeepJDOT: the target takes the labels of the source rows to which an optimal transport brings it."""

import keras
from keras import ops

from keras_transfer.checks import check_choice, check_number, check_weight
from keras_transfer.keras_internals import resolved_loss, same_rank
from keras_transfer.layers.prototypes import squared_distances
from keras_transfer.losses.transport import transport_plan
from keras_transfer.model import TransferModel
from keras_transfer.models.adaptation.shared import check_target_terms, run_domains, target_losses, weights
from keras_transfer.networks import PASSES, all_rows, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class DeepJDOT(TransferModel):
    """Adapts a classifier, or a regression, to an unlabelled domain by optimal transport of features and labels.

    task      = loss(y, head(f_source))
    cost_ij   = feature_weight * |f_source_i - f_target_j|^2 + label_weight * loss(y_i, head(f_target_j))
    transport = sum_ij plan_ij cost_ij,   plan: the optimal transport for this cost (`kt.losses.transport_plan`)
    total     = task + transport_weight * transport

    The plan counts as constant: the target's features are drawn to those of the source rows that it pairs them with,
    and its predictions to their labels.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        head: network from features to the prediction.
        transport_weight: float or schedule, the weight of `transport`; best a ramp.
        feature_weight: float or schedule, what the squared distance of features counts in the cost.
        label_weight: float or schedule, what the compiled loss of a label and a prediction counts in it.
        regularization: float above 0, the entropy of the plan, as a share of the mean cost.
        passes: `"joint"`: both domains go through the encoder in one pass, BatchNormalization shares its statistics
            between them. `"separate"`: one pass each, every domain normalised by its own statistics while the moving
            averages, which serve, mix both.
        target_terms: terms of the target's predictions beside it, as in `kt.models.TargetTerms`; by default none.

    Raises:
        ValueError: if a network is no Keras layer, a weight or the regularization is out of range, or `passes` is
            neither of the two.

    Example:

    ```python
    model = kt.models.DeepJDOT(encoder, head, transport_weight=kt.schedules.DannRamp(steps=2000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(kt.streams.domains((x_source, y_source), x_target), epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/digits", x_test)
    ```

    Departs: the plan is regularised by its entropy (Sinkhorn), so that it is computed in the graph; one loss of source
    and target; the plan is that of the global batch under several replicas.

    Reference:
        Damodaran, Kellenberger, Flamary, Tuia and Courty, DeepJDOT: Deep Joint Distribution Optimal Transport for
        Unsupervised Domain Adaptation, ECCV 2018, arXiv:1803.10081.
    """

    streams = ("source", "target")

    def __init__(
        self,
        encoder,
        head,
        transport_weight=1.0,
        feature_weight=0.01,
        label_weight=1.0,
        regularization=0.05,
        passes="joint",
        target_terms=None,
        **kwargs,
    ):
        check_networks(encoder=encoder, head=head)
        transport_weight = check_weight(transport_weight, "transport_weight")
        target_terms = check_target_terms(target_terms, head, ("transport",))
        super().__init__({"task": 1.0, "transport": transport_weight, **weights(target_terms)}, **kwargs)
        self.encoder, self.head, self.target_terms = encoder, head, target_terms
        self.transport_weight, self.feature_weight = transport_weight, check_weight(feature_weight, "feature_weight")
        self.label_weight = check_weight(label_weight, "label_weight")
        self.regularization = check_number(regularization, "regularization", above=0)
        self.passes = check_choice(passes, "passes", PASSES)

    def forward(self, x, training=False):
        """Returns predictions and features of both domains."""
        return run_domains(self.encoder, self.head, x, self.passes, training)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `transport` and the terms of the target's predictions."""
        task = self.task_loss(y, outputs["prediction"], sample_weight)
        wrong = self._pairs(all_rows(ops.convert_to_tensor(y)), all_rows(outputs["target_prediction"]))
        apart = squared_distances(all_rows(outputs["source"]), all_rows(outputs["target"]))
        cost = self.now(self.feature_weight) * apart + self.now(self.label_weight) * wrong
        plan = transport_plan(ops.stop_gradient(cost), self.regularization)
        return {"task": task, "transport": ops.sum(plan * cost), **target_losses(self.target_terms, outputs)}

    def _pairs(self, y, prediction):
        """The compiled loss of each label with each prediction, `(labels, predictions)`."""
        rows, columns = ops.shape(y)[0], ops.shape(prediction)[0]
        labels = ops.repeat(ops.cast(y, "float32"), columns, axis=0)
        answers = ops.tile(ops.cast(prediction, "float32"), (rows, *(1 for _ in prediction.shape[1:])))
        losses = resolved_loss(self.loss, labels, answers).call(*same_rank(labels, answers))
        return ops.reshape(ops.cast(losses, "float32"), (rows, columns))

"""L2-SP: fine-tuning with weights that are pulled back to where they started."""

import keras
from keras import ops

from keras_transfer.checks import check_weight
from keras_transfer.model import TransferModel
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class L2SP(TransferModel):
    """Fine-tunes a pretrained encoder without letting it drift far from its pretrained weights.

    task  = loss(y, head(encoder(x)))
    start = 1/2 sum over the encoder's kernels of ||w - w_start||^2
    head  = 1/2 sum over the head's kernels of ||w||^2
    total = task + start_weight * start + head_weight * head

    Kernels are the trainable weights with at least two axes, embeddings included. Biases, and the scales and offsets of
    normalisation layers, are left free. `w_start` are the weights at construction, saved with the model; frozen
    weights add nothing until they are thawed. Terms are sums over weights, not means.

    Weight decay towards zero works against `start`: choose an optimizer without (`Adam`, not `AdamW`).

    Args:
        encoder: built and pretrained network from an input to features `(batch, dim)`.
        head: new network from features to the prediction, logits `(batch, classes)`.
        start_weight: float or schedule, the weight of `start`. The default is that of the authors' training script,
            for SGD with momentum at a rate of 0.01; plain SGD diverges where rate times weight exceeds 2.
        head_weight: float or schedule, the weight of `head`; the default is the authors' too.

    Raises:
        ValueError: if a network is no Keras layer, the encoder is not built (it has no weights to start from), or a
            weight is negative or no number.

    Example:

    ```python
    model = kt.models.L2SP(encoder, head, start_weight=0.1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x, y, epochs=10)
    model.evaluate(x_test, y_test)
    kt.export(model, "saved_models/photos", x_test)
    ```

    Reference:
        Li, Grandvalet and Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional Networks,
        ICML 2018, arXiv:1802.01483; weights from the authors' code, holyseven/TransferLearningClassification.
    """

    def __init__(self, encoder, head, start_weight=0.1, head_weight=0.01, **kwargs):
        check_networks(encoder=encoder, head=head)
        start_weight = check_weight(start_weight, "start_weight")
        head_weight = check_weight(head_weight, "head_weight")
        super().__init__({"task": 1.0, "start": start_weight, "head": head_weight}, **kwargs)
        if not encoder.built:
            raise ValueError(
                f"Expected a built encoder, since its weights are where L2SP starts from; received {encoder.name!r}, "
                "which is not built."
            )
        self.encoder, self.head = encoder, head
        self.start_weight, self.head_weight = start_weight, head_weight
        # One for each kernel, frozen or not: what is frozen may be thawed later.
        self.anchors = [
            self.add_weight(
                shape=w.shape,
                initializer=keras.initializers.Constant(w.numpy()),
                dtype=w.dtype,
                trainable=False,
                name=f"anchor_{i}",
            )
            for i, w in enumerate(_kernels(encoder.weights))
        ]

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task`, `start` and `head`."""
        trainable = {id(w) for w in self.encoder.trainable_weights}
        moves = [w - a for w, a in zip(_kernels(self.encoder.weights), self.anchors) if id(w) in trainable]
        return {
            "task": self.task_loss(y, outputs["prediction"], sample_weight),
            "start": _half_squared_norm(moves),
            "head": _half_squared_norm(_kernels(self.head.trainable_weights)),
        }


def _kernels(weights):
    return [w for w in weights if len(w.shape) > 1]


def _half_squared_norm(weights):
    squares = (ops.sum(ops.square(ops.cast(w, "float32"))) for w in weights)
    return 0.5 * sum(squares, ops.zeros(()))

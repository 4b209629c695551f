"""Hard sharing: one encoder, a head for each task."""

import keras

from keras_transfer.models.multitask.shared import MultiTaskModel
from keras_transfer.networks import check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class SharedEncoder(MultiTaskModel):
    """Learns several tasks with one encoder, and a head for each.

    total = sum over tasks of  weight_t loss_t,  loss_t the mean over the labels of task t that are there

    Training batches are `(x, {task: labels})`; predictions are dicts too. The `weighting` says what each task counts.
    It may act on the tasks' gradients instead of their losses (`kt.weightings.PCGrad`, `MGDA`, `CAGrad`, `GradNorm`):
    then the encoder takes the weighed sum, and each head its own gradient. The logs show each task's loss, not weighed,
    as `<task>_term`.

    Args:
        encoder: network from an input to features `(batch, dim)`.
        heads: dict of the tasks' names to networks from features to predictions.
        weighting: a `kt.weightings.Weighting`; None: all tasks count 1.
        missing: label that stands for none, such as -1, or `float("nan")`; None: there is none. A dict of tasks to such
            labels where they differ: -1 may be an honest value of a regression. A task's `sample_weight` of 0 says the
            same. Compile metrics as `weighted_metrics`, which leave such labels out. Of a label with several entries,
            such as the pixels of an image or several classes that may all be true, each can be missing; see
            `kt.models.multitask.shared.MultiTaskModel`.

    Raises:
        ValueError: if there are fewer than 2 heads, one of them or the encoder is no network, labels, losses or sample
            weights are not those of the heads, a loss with `from_logits=True` reads a head that ends in a softmax, a
            sigmoid or the like, or another model has the weighting.

    Example:

    ```python
    heads = {"left": keras.layers.Dense(10), "right": keras.layers.Dense(10)}
    model = kt.models.SharedEncoder(encoder, heads, kt.weightings.PCGrad())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", dict.fromkeys(heads, loss), weighted_metrics=dict.fromkeys(heads, ["accuracy"]))
    model.fit(images, {"left": left, "right": right}, epochs=5)
    ```

    Reference:
        Caruana, Multitask Learning, Machine Learning 28, 1997.
    """

    def __init__(self, encoder, heads, weighting=None, missing=None, **kwargs):
        check_networks(encoder=encoder)
        super().__init__(heads, weighting, missing, **kwargs)
        self.encoder = encoder

    @property
    def shared_variables(self):
        """Those that all tasks train."""
        return self.encoder.trainable_variables

    def represent(self, x, training=False, tasks=None):
        """Returns a dict of what the heads of all or some tasks read, here the same features."""
        return dict.fromkeys(self.heads if tasks is None else tasks, self.encoder(x, training=training))

"""MMoE: experts that all tasks share, mixed by a gate for each."""

import keras

from keras_transfer.layers.expert_gate import ExpertGate
from keras_transfer.models.multitask.shared import MultiTaskModel, check_parts
from keras_transfer.networks import check_features, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class MixtureOfExperts(MultiTaskModel):
    """Learns several tasks from experts that all share; each task mixes them by a gate of its own.

    z = encoder(x),   prediction_t = head_t(sum over experts e of  softmax(W_t z)_e expert_e(z))

    Batches, labels that are missing and the logs are those of `SharedEncoder`. Gates and heads belong to a task alone.

    Args:
        encoder: network from an input to features `(batch, dim)`, which experts and gates read; for rows of numbers,
            as in the paper, `keras.layers.Identity()`.
        experts: list of at least 2 networks from features to `(batch, units)`.
        heads: dict of the tasks' names to networks from `(batch, units)` to predictions.
        weighting: a `kt.weightings.Weighting`; None: all tasks count 1.
        missing: label that stands for none; see `SharedEncoder`.

    Raises:
        ValueError: if there are fewer than 2 heads or experts, or one of them or the encoder is no network.

    Example:

    ```python
    experts = [keras.layers.Dense(64, activation="relu") for _ in range(4)]
    model = kt.models.MixtureOfExperts(encoder, experts, heads)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", dict.fromkeys(heads, loss), weighted_metrics=dict.fromkeys(heads, ["accuracy"]))
    model.fit(images, {"left": left, "right": right}, epochs=5)
    ```

    Departs: an encoder may come before the experts.

    Reference:
        Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018.
    """

    def __init__(self, encoder, experts, heads, weighting=None, missing=None, **kwargs):
        check_networks(encoder=encoder)
        check_parts(experts, "experts")
        if len(experts) < 2:
            raise ValueError(f"Expected at least 2 experts; received {len(experts)}.")
        super().__init__(heads, weighting, missing, **kwargs)
        self.encoder, self.experts = encoder, list(experts)
        self.gates = {task: ExpertGate(len(experts), name=f"{task}_gate") for task in heads}

    @property
    def shared_variables(self):
        """Those of the encoder and the experts."""
        return [v for network in (self.encoder, *self.experts) for v in network.trainable_variables]

    def represent(self, x, training=False, tasks=None):
        """Returns a dict of what the heads of all or some tasks read, their mixtures of the experts."""
        features = check_features(self.encoder(x, training=training), self.encoder)
        outputs = [expert(features, training=training) for expert in self.experts]
        return {task: self.gates[task](features, outputs) for task in (self.heads if tasks is None else tasks)}

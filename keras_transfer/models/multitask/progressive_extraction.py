"""CGC and PLE: experts that all tasks share beside experts of each task, on one level or several."""

import keras

from keras_transfer.layers.expert_gate import ExpertGate
from keras_transfer.models.multitask.shared import MultiTaskModel, check_heads, check_names, check_parts
from keras_transfer.networks import check_features, check_networks


@keras.saving.register_keras_serializable(package="keras_transfer")
class ProgressiveExtraction(MultiTaskModel):
    """Learns several tasks from shared experts and each task's own, which gates mix level by level.

    z_t = z_shared = encoder(x);  on each level
    z_t      <- gate_t(z_t; the task's experts of z_t, shared experts of z_shared)
    z_shared <- gate(z_shared; all tasks' experts, shared experts),   not on the last level
    prediction_t = head_t(z_t)

    One level is CGC (customised gate control), several are PLE (progressive layered extraction). Batches, labels that
    are missing and the logs are those of `SharedEncoder`.

    Args:
        encoder: network from an input to features `(batch, dim)`; for rows of numbers, as in the paper,
            `keras.layers.Identity()`.
        shared_experts: for each level a list of networks from `(batch, dim)` to `(batch, units)`.
        task_experts: dict of the tasks' names to the same for each task: for each level a list of networks.
        heads: dict of the tasks' names to networks from `(batch, units)` to predictions.
        weighting: a `kt.weightings.Weighting`; None: all tasks count 1.
        missing: label that stands for none; see `SharedEncoder`.

    Raises:
        ValueError: if there are fewer than 2 heads, task experts are not those of the heads, or levels differ in number
            or have no expert, or one of all these is no network.

    Example:

    ```python
    def experts():
        return [keras.layers.Dense(64, activation="relu") for _ in range(2)]

    task_experts = {"left": [experts()], "right": [experts()]}
    model = kt.models.ProgressiveExtraction(encoder, [experts()], task_experts, heads)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", dict.fromkeys(heads, loss), weighted_metrics=dict.fromkeys(heads, ["accuracy"]))
    model.fit(images, {"left": left, "right": right}, epochs=5)
    ```

    Departs: an encoder may come before the experts.

    Reference:
        Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
        Recommendations, RecSys 2020.
    """

    def __init__(self, encoder, shared_experts, task_experts, heads, weighting=None, missing=None, **kwargs):
        check_networks(encoder=encoder)
        check_heads(heads)
        check_names("experts", task_experts, list(heads))
        check_parts(shared_experts, "shared_experts", depth=2)
        check_parts(task_experts, "task_experts", depth=3)
        shared = [len(experts) for experts in shared_experts]
        own = {task: [len(experts) for experts in levels] for task, levels in task_experts.items()}
        every = [shared, *own.values()]
        if len(set(map(len, every))) > 1 or not all(levels and min(levels) for levels in every):
            received = f"shared {shared}, own {own}"
            raise ValueError(f"Expected at least 1 expert on each level, on as many levels; received {received}.")
        super().__init__(heads, weighting, missing, **kwargs)
        self.encoder = encoder
        self.shared_experts = [list(experts) for experts in shared_experts]
        self.task_experts = {task: [list(experts) for experts in levels] for task, levels in task_experts.items()}
        self.gates = {
            task: [ExpertGate(mine + common) for mine, common in zip(levels, shared)] for task, levels in own.items()
        }
        self.shared_gates = [ExpertGate(sum(level)) for level in zip(*every)][:-1]

    @property
    def shared_variables(self):
        """Those that more than one task trains: all but what leads to the experts of one task on the last level."""
        below = [levels[:-1] for levels in self.task_experts.values()]
        below += [levels[:-2] for levels in self.gates.values()]
        networks = keras.tree.flatten([self.encoder, self.shared_experts, self.shared_gates, below])
        return [v for network in networks for v in network.trainable_variables]

    def represent(self, x, training=False, tasks=None):
        """Returns a dict of what the heads of all or some tasks read, their mixtures on the last level."""
        shared = check_features(self.encoder(x, training=training), self.encoder)
        read = dict.fromkeys(self.heads, shared)
        for level, experts in enumerate(self.shared_experts):
            last = level == len(self.shared_experts) - 1
            if last and tasks is not None:
                read = {task: read[task] for task in tasks}
            common = [expert(shared, training=training) for expert in experts]
            own = {
                task: [expert(value, training=training) for expert in self.task_experts[task][level]]
                for task, value in read.items()
            }
            read = {task: self.gates[task][level](value, own[task] + common) for task, value in read.items()}
            if not last:
                shared = self.shared_gates[level](shared, sum(own.values(), common))
        return read

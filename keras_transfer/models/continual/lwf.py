"""Learning without forgetting: on the new task's inputs, what the old model said of the old classes is kept."""

import keras
from keras import ops

from keras_transfer.checks import check_weight
from keras_transfer.losses.checks import check_temperature
from keras_transfer.losses.distillation import distillation
from keras_transfer.models.continual.shared import ContinualModel
from keras_transfer.networks import follow, follower
from keras_transfer.tasks import NEVER


@keras.saving.register_keras_serializable(package="keras_transfer")
class LwF(ContinualModel):
    """Learns tasks one after another, and keeps the former model's answers to the present inputs; no data is kept.

    distillation = T^2 mean KL(softmax(f_old / T) || softmax(f / T)),   over the classes that were consolidated
    total        = task + distillation_weight * distillation

    f_old is the model when the last task ended, in inference mode. With `tasks` each former task's classes are
    distilled by themselves, and the sum counts. It needs new inputs of which the old model can say something: where
    those of former tasks look quite different it holds little.

    Args:
        encoder: built network from an input to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        distillation_weight: float or schedule, the weight of `distillation`.
        temperature: positive float T.
        tasks: list over the tasks of lists of their classes (task-incremental); None: all classes are one head's.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, a weight or
            the temperature is out of range, or `tasks` are no lists of the head's classes.

    Example:

    ```python
    model = kt.models.LwF(encoder, head)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for x, y in months:
        model.fit(x, y, epochs=5)
        model.consolidate(x, y)
    ```

    Departs: the paper first trains the new head alone, and has a weight decay.

    Reference:
        Li and Hoiem, Learning without Forgetting, ECCV 2016, arXiv:1606.09282.
    """

    def __init__(self, encoder, head, distillation_weight=1.0, temperature=2.0, tasks=None, **kwargs):
        distillation_weight = check_weight(distillation_weight, "distillation_weight")
        super().__init__(encoder, head, {"task": 1.0, "distillation": distillation_weight}, tasks, **kwargs)
        self.distillation_weight, self.temperature = distillation_weight, check_temperature(temperature)
        self.former_encoder, self.former_head = follower(encoder), follower(head)

    def loss_terms(self, x, y, outputs, sample_weight=None):
        """Returns `task` and `distillation`."""
        former = self.former_head(self.former_encoder(x, training=False), training=False)
        known = self.known()
        total = ops.zeros(())
        for members in self.tasks or [range(self.classes)]:
            # Of a task without a known class both sides are uniform, and apart by 0.
            ours = [
                ops.take(one, ops.convert_to_tensor(list(members)), axis=-1) for one in (former, outputs["prediction"])
            ]
            there = ops.take(known, ops.convert_to_tensor(list(members)))
            ours = [ops.where(there, ops.cast(one, "float32"), NEVER) for one in ours]
            total += distillation(*ours, self.temperature)
        return {"task": self.task_loss(y, outputs["prediction"], sample_weight), "distillation": total}

    def keep(self, x, y, classes):
        """Makes the former model of the present one."""
        follow(self.former_encoder, self.encoder, 0.0, "copied")
        follow(self.former_head, self.head, 0.0, "copied")

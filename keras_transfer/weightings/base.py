"""What a weighting of tasks is: a small layer from the losses to their total, or from their gradients to an update."""

import keras
from keras import ops

from keras_transfer.gradients import gram, lengths, weighted_sum
from keras_transfer.networks import all_rows, keep_finite


class Weighting(keras.layers.Layer):
    """Abstract. Weighs the losses of tasks.

    A method builds it for the names of its tasks; the base calls it on their losses in each step. `used` holds the
    weights of the last training step, `(tasks,)` in the order of `tasks`, for pictures. It is of one model alone.

    It holds still in a step whose losses, or gradients where it weighs these, are not finite, as happens under float16
    before the optimizer has found its scale, and then skips the step: nothing that is not finite becomes its state.
    """

    on = None  # it weighs losses, by which there is one gradient
    joined = False  # no model has it yet

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)

    def build(self, input_shape):
        """Makes the state for tasks.

        Args:
            input_shape: dict of the tasks' names to the shape of their losses, `()`.
        """
        self.tasks = tuple(input_shape)
        self.used = self.state("used", 1.0)
        self.built = True

    def join(self, tasks):
        """Makes it the weighting of one model, and builds it for the model's tasks.

        Args:
            tasks: list of their names.

        Raises:
            ValueError: if another model has it, or it was built for other tasks.
        """
        if self.joined:
            raise ValueError(
                f"Expected a weighting that no other model has, since it keeps what it learned of one; received "
                f"{type(self).__name__} {self.name!r} again. Make a new one for each model."
            )
        if not self.built:
            self.build({task: () for task in tasks})
        if set(self.tasks) != set(tasks):
            raise ValueError(f"Expected a weighting of the tasks {tasks}; received one of {list(self.tasks)}.")
        self.joined = True

    def call(self, losses, training=False):
        """Returns the total that is minimised, a scalar.

        Args:
            losses: dict of the tasks' names to scalars.
            training: bool, whether this is a training step, which moves the state.
        """
        raise NotImplementedError

    def state(self, name, value, trainable=False):
        """Makes a variable with one value for each task."""
        return self.add_weight(
            shape=(len(self.tasks),),
            initializer=keras.initializers.Constant(value),
            trainable=trainable,
            aggregation="mean",
            name=name,
        )

    def stack(self, losses):
        """Returns the losses `(tasks,)`."""
        return ops.stack([ops.cast(losses[task], "float32") for task in self.tasks])

    def everywhere(self, losses):
        """Returns the losses of the global batch `(tasks,)`, held still."""
        return ops.mean(all_rows(ops.stop_gradient(self.stack(losses))[None]), axis=0)

    def slopes(self, training=False):
        """Returns `{task: scalar}`, what each loss counts in the total that `call` returned last, held still."""
        if training:
            values = ops.ones_like(self.used) if self.on is not None else ops.convert_to_tensor(self.used)
            return dict(zip(self.tasks, ops.unstack(values, len(self.tasks))))
        zeros = dict.fromkeys(self.tasks, 0.0)
        none = self.call(zeros, training=False)
        return {task: ops.stop_gradient(self.call({**zeros, task: 1.0}, training=False) - none) for task in self.tasks}

    def logs(self):
        """Returns `{name: scalar}` of the last training step: `<task>_weight` of each task."""
        weights = ops.unstack(ops.convert_to_tensor(self.used), len(self.tasks))
        return {f"{task}_weight": weight for task, weight in zip(self.tasks, weights)}

    def weigh(self, losses, weights, training):
        """Returns the sum of losses by weights that are held still, and keeps the weights."""
        weights = ops.stop_gradient(weights)
        if training:
            keep_finite(self.used, weights)
        return ops.sum(weights * self.stack(losses))

    def get_config(self):
        """Returns the settings."""
        config = super().get_config()
        config.pop("dtype", None)
        return config


class GradientWeighting(Weighting):
    """Abstract. Weighs the gradients of tasks instead of their losses.

    Args:
        on: `"parameters"`: the gradients by the weights that tasks share, one way back through them for each task.
            `"representation"`: those by the features that the heads read, which bound the former; one way back. Where
            heads read features of their own, as in all methods but `SharedEncoder`, these never conflict.
    """

    def __init__(self, on="parameters", **kwargs):
        super().__init__(**kwargs)
        if on not in ("parameters", "representation"):
            raise ValueError(f'Expected `on` to be "parameters" or "representation"; received {on!r}.')
        self.on = on

    def build(self, input_shape):
        """Makes the state for tasks; `cosines` holds those between the gradients of the last step."""
        super().build(input_shape)
        tasks = len(self.tasks)
        self.cosines = self.add_weight(
            shape=(tasks, tasks), initializer="identity", trainable=False, aggregation="mean", name="cosines"
        )

    def call(self, losses, training=False):
        """Returns the sum of the losses, which coefficients of their gradients replace in training."""
        return ops.sum(self.stack(losses))

    def coefficients(self, gram):
        """Returns what each task's gradient counts, `(tasks,)`.

        Args:
            gram: tensor `(tasks, tasks)`, the inner products of the gradients.
        """
        raise NotImplementedError

    def combine(self, gradients):
        """Returns the weighted sum of the tasks' gradients in a training step; keeps the coefficients and cosines.

        Args:
            gradients: dict of the tasks' names to lists of tensors, of the same shapes for each task; empty lists where
                all that the tasks share is frozen, which gives an empty list.
        """
        by_task = [gradients[task] for task in self.tasks]
        if not by_task[0]:
            return []
        products = gram(by_task)
        norms = lengths(products)
        keep_finite(self.cosines, products / (norms[:, None] * norms))
        found = self.coefficients(products)
        keep_finite(self.used, found)
        return weighted_sum(by_task, found)

    def logs(self):
        """Returns the weights, and `<task>_<other>_cosine` between the gradients of every two tasks."""
        cosines = ops.convert_to_tensor(self.cosines)
        pairs = [(i, j) for j in range(len(self.tasks)) for i in range(j)]
        return {**super().logs(), **{f"{self.tasks[i]}_{self.tasks[j]}_cosine": cosines[i, j] for i, j in pairs}}

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "on": self.on}

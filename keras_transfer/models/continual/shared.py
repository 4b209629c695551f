"""What methods of continual learning share: what is kept when a task ends, a head that grows, a buffer of rows."""

import abc

import keras
import numpy as np
from keras import layers, ops

from keras_transfer.batches import check_inputs, check_labels
from keras_transfer.checks import check_integer, check_tasks, received, same_shape
from keras_transfer.keras_internals import all_layers, own_parameters
from keras_transfer.layers.replay_buffer import ReplayBuffer
from keras_transfer.model import TransferModel, stated_outputs
from keras_transfer.networks import check_logits, check_networks, copy_network, number_of_outputs, run_pair
from keras_transfer.signatures import Signature, named, predicted, reader


class ContinualModel(TransferModel, abc.ABC):
    """A classifier that learns one task after another: `fit`, then `consolidate`, then `fit` on what comes.

    One head `(batch, classes)` serves all tasks. Where it is known at request time which task a row belongs to, `tasks`
    says which classes are whose, and the model is compiled with `kt.losses.TaskCrossentropy(tasks)`: that is what a
    head for each task would be. What is kept of former tasks is made of weights that do not train: it is in the
    `.keras` file, so that another process can go on, and in no export.

    Args:
        encoder: built network from an input to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`, not probabilities.
        terms: dict of the names of the loss terms to their weights.
        tasks: list over the tasks of lists of their classes, or None.
        **kwargs: arguments of `kt.TransferModel`.

    Raises:
        ValueError: if a network is no Keras layer or not built, the head ends in a softmax or a sigmoid, or `tasks` are
            no such list or of classes that the head does not have.
    """

    fitted_first = True
    """Whether a task is trained on before it is consolidated."""

    def __init__(self, encoder, head, terms, tasks=None, **kwargs):
        check_networks(encoder=encoder, head=head)
        check_logits(head, "head")
        for network in (encoder, head):
            if not network.built:
                raise ValueError(
                    f"Expected a built network, of whose weights something is kept; received {network.name!r}, which "
                    "is not: begin it with `keras.Input`."
                )
        super().__init__(terms, **kwargs)
        self.encoder, self.head = encoder, head
        self.classes = number_of_outputs(head) or ops.shape(head.weights[-1])[-1]
        self.tasks = None if tasks is None else check_tasks(tasks, self.classes)
        self.seen = self._kept("seen", (self.classes,), "int32")
        self.consolidated = self._kept("consolidated", (), "int32")
        self.settled_step = self._kept("settled_step", (), "int32")

    def consolidate(self, x, y, learned_before=False):
        """Ends a task: keeps what later tasks shall not lose.

        Args:
            x: inputs of the task `(rows, ...)`, an array or a dict of arrays: those that it was trained on.
            y: integer labels `(rows,)`.
            learned_before: bool, True where the networks had learned this task when the model was made of them.
                Otherwise a model that has not been trained is an error.

        Raises:
            ValueError: if the model has not been fitted since the last task ended, there are no rows, or labels are no
                classes of the head, or of several tasks.
        """
        y = np.asarray(y).reshape(len(y), -1)[:, 0] if np.ndim(y) == 2 and np.shape(y)[1] == 1 else np.asarray(y)
        if not all(hasattr(part, "shape") for part in keras.tree.flatten(x)):
            raise ValueError(f"Expected `x` to be arrays of the task's rows; received {received(x)}.")
        rows = len(keras.tree.flatten(x)[0])
        if not rows or y.shape != (rows,):
            raise ValueError(f"Expected rows of a task with a label for each; received {rows} and labels {y.shape}.")
        check_inputs(x, self.layers)
        check_labels(y, whole=True, classes=self.classes)
        y = y.astype("int32")
        step = int(ops.convert_to_numpy(self.step))
        if self.fitted_first and not learned_before and step <= int(ops.convert_to_numpy(self.settled_step)):
            raise ValueError(
                "Expected `fit` on a task before `consolidate` ends it; received a model that has not been trained "
                "since it was made, or since its last task ended. Where its networks had learned the task before, say "
                "`learned_before=True`."
            )
        self.keep(x, y, self._classes_of(y))
        self.seen.assign(ops.convert_to_numpy(self.seen) + np.bincount(y, minlength=self.classes).astype("int32"))
        self.consolidated.assign_add(1)
        self.settled_step.assign(step)

    @abc.abstractmethod
    def keep(self, x, y, classes):
        """Keeps what the method keeps of a task.

        Args:
            x: checked inputs of the task.
            y: int32 labels `(rows,)`.
            classes: list of the classes among which its rows are told.
        """

    def grow(self, classes, tasks=None, optimizer=True):
        """Returns a new model with more classes, which has learned and kept what this one has.

        The weights of the new classes are drawn anew, and nothing that is kept speaks of them: no penalty holds them.

        Args:
            classes: int, how many classes more.
            tasks: list over the tasks of lists of their classes, the new ones among them; None where there are none.
            optimizer: bool, whether a compiled model's optimizer goes on with its state, zeros for the new weights; it
                begins anew otherwise. A loss and metrics that know the tasks have to be compiled anew, with
                `model.optimizer`.

        Raises:
            ValueError: if the head does not end in a `Dense` layer, or there were tasks and now there are none.
        """
        check_integer(classes, "classes")
        if (tasks is None) != (self.tasks is None):
            raise ValueError(f"Expected `tasks` as the model has them, {self.tasks}; received {tasks}.")
        own = {name: getattr(self, name) for name in self._config_names()}
        own |= {"encoder": copy_network(self.encoder), "head": _grown(self.head, classes)}
        if "memory" in own:
            config = self.memory.get_config()
            own["memory"] = type(self.memory).from_config(config | {"classes": self.classes + classes})
        own |= {} if tasks is None else {"tasks": tasks}
        larger = type(self)(**own, name=self.name, dtype=self.dtype_policy)
        for old, new in zip(self.weights, larger.weights, strict=True):
            _fill(new, old)
        larger.built = True
        if self.compiled:
            larger.compile_from_config(self.get_compile_config())
            if optimizer and self.optimizer.built:
                larger.optimizer.build(larger.trainable_variables)
                for old, new in zip(self.optimizer.variables, larger.optimizer.variables, strict=True):
                    _fill(new, old)
        return larger

    def signatures(self, x, classes=None, prepare=None, input_name="images", outputs=None):
        """Returns what a server answers: all classes, features, and of each task its own classes, `task_0` and on.

        A `class_id` of these numbers the classes of its task, in the order of `tasks`.
        """
        served = super().signatures(x, classes, prepare, input_name, outputs)
        if self.tasks is None:
            return served
        request = named(x, input_name)
        read, stated = reader(x, request, prepare), stated_outputs(self.served[1], "head", classes, outputs) or "logits"
        for number, members in enumerate(self.tasks):
            names = None if classes is None else [classes[label] for label in members]

            def answer(inputs, members=members, names=names):
                logits = ops.take(self(read(inputs), training=False), ops.convert_to_tensor(members), axis=-1)
                return predicted(logits, names, stated)

            served[f"task_{number}"] = Signature(answer, request, classes=names)
        return served

    # What methods call.

    def known(self):
        """Returns which classes have been consolidated, a bool tensor `(classes,)`."""
        return ops.convert_to_tensor(self.seen) > 0

    def weights_kept(self, name):
        """Makes a weight of zeros beside each of those in `protected`, and returns them as a list."""
        return [self._kept(f"{name}_{i}", v.shape, "float32") for i, v in enumerate(self.protected())]

    def protected(self):
        """Returns the weights of both networks that were made to train, whether they train now or not."""
        parts = [layer for network in (self.encoder, self.head) for layer in all_layers(network)]
        return list({id(v): v for layer in parts for v in own_parameters(layer)}.values())

    def _kept(self, name, shape, dtype):
        return self.add_weight(
            shape=shape, initializer="zeros", dtype=dtype, trainable=False, aggregation="only_first_replica", name=name
        )

    def _classes_of(self, y):
        if self.tasks is None:
            return list(range(self.classes))
        labels = set(y.tolist())
        found = [members for members in self.tasks if labels & set(members)]
        if len(found) != 1 or not labels <= set(found[0]):
            raise ValueError(
                f"Expected labels of one of the tasks {self.tasks}; received the classes {sorted(labels)}."
            )
        return found[0]


class MemoryModel(ContinualModel):
    """A classifier that learns one task after another, and keeps rows of each in a buffer.

    Args:
        encoder: built network from an input of one array to features `(batch, dim)`.
        head: built network from features to logits `(batch, classes)`.
        memory: `kt.layers.ReplayBuffer` for rows of the encoder's inputs and the head's classes.
        terms: dict of the names of the loss terms to their weights.
        tasks: list over the tasks of lists of their classes, or None.
        **kwargs: arguments of `kt.TransferModel`.

    Raises:
        ValueError: if `memory` is no buffer, or one for other rows or classes.
    """

    streams = ("current", "memory")
    passes = "joint"

    def __init__(self, encoder, head, memory, terms, tasks=None, **kwargs):
        super().__init__(encoder, head, terms, tasks, **kwargs)
        if not isinstance(memory, ReplayBuffer):
            raise ValueError(f"Expected `memory` to be a `kt.layers.ReplayBuffer`; received {received(memory)}.")
        shape = getattr(encoder, "input_shape", None)
        if memory.classes != self.classes or not isinstance(shape, tuple) or not same_shape(shape[1:], memory.shape):
            raise ValueError(
                f"Expected `memory` for rows of shape {shape and shape[1:]} and {self.classes} classes, as encoder and "
                f"head have them; received one for rows of shape {memory.shape} and {memory.classes} classes."
            )
        self.memory = memory

    def forward(self, x, training=False):
        """Returns the predictions of the present rows and, `replayed`, of those of the buffer."""

        def run(batch, training):
            return self.head(self.encoder(batch, training=training), training=training)

        both = run_pair(run, x["current"], x["memory"]["x"], self.passes, training, self.streams)
        return dict(zip(("prediction", "replayed"), both))

    def check_data(self, x=None, y=None, *_, **__):
        """Checks arrays that `fit` and the like are called with, the buffer's rows and labels among them."""
        if self.is_streams(x) and isinstance(x["memory"], dict):
            check_labels(x["memory"].get("y"), "labels of `memory`", whole=True, classes=self.classes)
            x = {"current": x["current"], "memory": x["memory"].get("x")}  # logits may be NaN
        super().check_data(x, y)

    def keep(self, x, y, classes):
        """Adds rows of the task to the buffer, and with them the model's answers where they are kept."""
        logits = self.predict(x, batch_size=256, verbose=0) if self.memory.logits else None
        self.memory.add(np.asarray(x), y, logits)


def _fill(new, old):
    """Assigns a variable to the first places of one that may be larger."""
    value = np.array(ops.convert_to_numpy(new))
    value[tuple(slice(size) for size in old.shape)] = ops.convert_to_numpy(old)
    new.assign(value)


def _grown(head, classes):
    """Returns a new head like this one, with more units in the Dense layer at its end."""
    parts = head.layers if isinstance(head, keras.Model) else [head]
    last = parts[-1]
    if not isinstance(last, layers.Dense):
        raise ValueError(f"Expected a head that ends in a `keras.layers.Dense` to grow; received {last.name!r}.")

    def clone(layer):
        config = layer.get_config()
        return type(layer).from_config(config | ({"units": layer.units + classes} if layer is last else {}))

    several = isinstance(head, keras.Model)
    larger = keras.models.clone_model(head, clone_function=clone) if several else clone(head)
    if not larger.built:
        larger.build((None, last.kernel.shape[0]))
    for old, new in zip(head.weights, larger.weights, strict=True):
        _fill(new, old)
    return larger


def pull(weights, importance, anchors):
    """Returns  1/2 sum over all entries of  importance (w - anchor)^2,  a float32 scalar.

    Weights that do not train now are left out. Its gradient, importance (w - anchor), is computed once: in the sum it
    counts as a constant.

    Args:
        weights: list of variables.
        importance: list of variables of the same shapes.
        anchors: list of variables of the same shapes.
    """
    total = ops.zeros(())
    for w, strength, anchor in zip(weights, importance, anchors):
        if w.trainable:
            away = ops.cast(w, "float32") - anchor
            slope = ops.stop_gradient(strength * away)
            whole = ops.sum(slope * away)
            total += whole - 0.5 * ops.stop_gradient(whole)
    return total

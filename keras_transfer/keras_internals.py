"""Every use of a private name of Keras, and one of tf.data: each one function or class, and why no public way does.

A minor version of Keras may rename any of these; `tests/test_keras_internals.py` tries each.
"""

import contextlib
import inspect

import keras
from keras import ops
from keras.src import backend
from keras.src.losses import loss as loss_module
from keras.src.losses import losses as losses_module
from keras.src.saving import saving_lib, serialization_lib
from keras.src.trainers import compile_utils

# Layers.


def child_layers(layer):
    """Returns the layers that a layer holds itself, in the order in which it got them.

    `keras.Model.layers` is public, but other layers that hold some, such as `MultiHeadAttention`, have no such list.

    Args:
        layer: `keras.layers.Layer` or `keras.Model`.

    Returns:
        List of layers.
    """
    return list(layer._layers)


def all_layers(layer):
    """Returns a layer and all layers anywhere in it, each once, every one before those inside it.

    Keras has this only as a private method, in another order; see `child_layers`.

    Args:
        layer: `keras.layers.Layer` or `keras.Model`.

    Returns:
        List of layers.
    """

    def walk(outer):
        yield outer
        for inner in child_layers(outer):
            yield from walk(inner)

    return list(dict.fromkeys(walk(layer)))


def made_by(tensor):
    """Returns where a symbolic tensor, such as an output of a functional model, comes from.

    `keras.Model.layers` lists the layers without saying which feeds which, and leaves out operations such as
    `keras.ops.softmax`.

    Args:
        tensor: `keras.KerasTensor` of a functional model.

    Returns:
        The layer or other operation that made it, the place of the tensor among those it made, and a list of the
        symbolic tensors that it was made of.
    """
    operation, node, place = tensor._keras_history
    return operation, place, list(operation._inbound_nodes[node].input_tensors)


def own_parameters(layer):
    """Returns the variables of a layer itself that were made to train, whether they train now or not.

    The public `trainable_variables` leaves out those that are frozen, and adds those of the layers inside.

    Args:
        layer: `keras.layers.Layer` or `keras.Model`.

    Returns:
        List of `keras.Variable`.
    """
    return list(layer._trainable_variables)


def own_state(layer):
    """Returns the variables of a layer itself that no gradient moves, such as moving statistics.

    The public `non_trainable_variables` adds what is frozen, and those of the layers inside.

    Args:
        layer: `keras.layers.Layer` or `keras.Model`.

    Returns:
        List of `keras.Variable`.
    """
    return list(layer._non_trainable_variables)


def is_replaced(variable):
    """Returns whether a `keras.StatelessScope`, such as that of `stateless_call`, gives a variable another value.

    The present scope has no public name, and `value` does not say where it comes from.

    Args:
        variable: `keras.Variable` without autocasting.

    Returns:
        Bool.
    """
    return variable.value is not variable._value


# Compiled models.


def compiled_loss(model):
    """Returns the loss that `compile` made of its arguments, a function of `(y, y_pred, sample_weight)`.

    `model.loss` is what was passed, a name or a dict perhaps, and `model.compute_loss` adds what a caller may not want.
    Under a `tf.distribute` strategy the result is divided by the number of replicas.

    Args:
        model: `keras.Model`.

    Returns:
        The function; None before `compile`, or where there was no loss.
    """
    return model._compile_loss


def loss_weights(model):
    """Returns what `compile` was given as `loss_weights`, which no public attribute keeps.

    Args:
        model: compiled `keras.Model`.

    Returns:
        A float, list or dict; None where there are none, or no loss.
    """
    loss = compiled_loss(model)
    return None if loss is None else loss._user_loss_weights


def resolved_loss(loss, y, y_pred):
    """Returns the `keras.losses.Loss` that `compile` makes of one loss that it is given.

    The public `keras.losses.get` leaves a function as it is, and knows no "crossentropy"; `compile` keeps its own only
    together with a metric for each, and with a sum over all outputs.

    Args:
        loss: name, function or `keras.losses.Loss`.
        y: labels.
        y_pred: predictions.

    Returns:
        `keras.losses.Loss`.
    """
    return compile_utils.get_loss(loss, y, y_pred)


def same_rank(y, y_pred):
    """Returns labels and predictions of one rank, where one of them alone ends in an axis of size 1.

    Keras does so for its own losses and for functions; not for other classes of losses, nor for metrics.

    Args:
        y: labels.
        y_pred: predictions.

    Returns:
        The labels and the predictions.
    """
    return loss_module.squeeze_or_expand_to_same_rank(y, y_pred)


_BY_ENTRIES = (
    keras.losses.binary_crossentropy,
    keras.losses.binary_focal_crossentropy,
    keras.losses.hinge,
    keras.losses.huber,
    keras.losses.log_cosh,
    keras.losses.mean_absolute_error,
    keras.losses.mean_absolute_percentage_error,
    keras.losses.mean_squared_error,
    keras.losses.mean_squared_logarithmic_error,
    keras.losses.poisson,
    keras.losses.squared_hinge,
)


def is_by_entries(loss):
    """Returns whether a loss is Keras's own mean over the last axis of what depends on one entry of it alone.

    What function a loss of Keras calls, and how, is a public attribute of none.

    Args:
        loss: `keras.losses.Loss`.

    Returns:
        Bool.
    """
    wrapper = losses_module.LossFunctionWrapper
    if not isinstance(loss, wrapper) or type(loss).call is not wrapper.call:
        return False
    return loss.fn in _BY_ENTRIES and loss._fn_kwargs.get("axis", -1) == -1


_BY_CLASS_NUMBERS = (keras.losses.sparse_categorical_crossentropy,)
_OF_ONE_SHAPE = (
    *_BY_ENTRIES,
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
    keras.losses.categorical_hinge,
    keras.losses.cosine_similarity,
    keras.losses.dice,
    keras.losses.kl_divergence,
    keras.losses.tversky,
)


def reads_class_numbers(loss):
    """Returns whether a loss reads labels as numbers of classes, one for each row of logits, as some of Keras's own do.

    What function a loss of Keras calls is a public attribute of none. Other losses say so by `reads_class_numbers`.

    Args:
        loss: `keras.losses.Loss`, a function, or its name.

    Returns:
        Bool.
    """
    return getattr(loss, "reads_class_numbers", False) or _function_of(loss) in _BY_CLASS_NUMBERS


def reads_one_shape(loss):
    """Returns whether a loss is one of Keras's own that reads labels of the shape of predictions.

    Args:
        loss: `keras.losses.Loss`, a function, or its name.

    Returns:
        Bool.
    """
    return _function_of(loss) in _OF_ONE_SHAPE


def _function_of(loss):
    """The function that one of Keras's losses wraps; a function itself; None for other losses and unknown names."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:  # such as "crossentropy", which depends on the labels
            return None
    if isinstance(loss, keras.losses.Loss):
        return loss.fn if isinstance(loss, losses_module.LossFunctionWrapper) else None
    return loss if callable(loss) else None


def mask_of(y_pred):
    """Returns the mask that layers such as `Embedding(mask_zero=True)` gave to a prediction, as Keras's losses read it.

    Args:
        y_pred: tensor.

    Returns:
        Tensor of bools, or None.
    """
    return backend.get_keras_mask(y_pred)


def compiled_metrics(model):
    """Returns the metric that holds all that `compile` was given as `metrics` and `weighted_metrics`.

    It is public only as one of `model.metrics`, without a name to know it by.

    Args:
        model: `keras.Model`.

    Returns:
        `keras.metrics.Metric`, updated by `(y, y_pred, sample_weight)`; None where there are no metrics.
    """
    return model._compile_metrics


def unweighted_metrics(model):
    """Returns what `compile` was given as `metrics`, which count every row alike, whatever its sample weight.

    Once compiled, they stand in one list with `weighted_metrics`.

    Args:
        model: `keras.Model`.

    Returns:
        List or dict; None where there are none.
    """
    metrics = compiled_metrics(model)
    return None if metrics is None else metrics._user_metrics


def loss_tracker(model):
    """Returns the mean that `fit` and `evaluate` log as `loss`, which a custom `train_step` has to update.

    It is public only as one of `model.metrics`, known by a name that a user's metric may have too.

    Args:
        model: compiled `keras.Model`.

    Returns:
        `keras.metrics.Mean`.
    """
    return model._loss_tracker


# Optimizers.


def given_rate(optimizer):
    """Returns an optimizer's learning rate as it was given: a variable that holds a float, a schedule, or a function.

    The public `learning_rate` is the value at the present step.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Returns:
        `keras.Variable`, `keras.optimizers.schedules.LearningRateSchedule`, or function without arguments.
    """
    return optimizer._learning_rate


def give_rate(optimizer, schedule):
    """Gives an optimizer a schedule, or a function, in place of the learning rate with which it was made.

    Assigning to the public `learning_rate` would drop the variable that held the float from the optimizer's list, where
    TensorFlow still finds it: then the model cannot be exported.

    Args:
        optimizer: `keras.optimizers.Optimizer`.
        schedule: `keras.optimizers.schedules.LearningRateSchedule`, or function without arguments.
    """
    optimizer._learning_rate = schedule


def variable_index(optimizer, variable):
    """Returns the place of a variable among those that a built optimizer trains, for an `update_step`.

    Under a strategy `update_step` sees one replica's part of a variable, which Keras alone finds again in its list; its
    own optimizers ask so.

    Args:
        optimizer: built `keras.optimizers.Optimizer`.
        variable: variable that `update_step` received.

    Returns:
        Int.
    """
    return optimizer._get_variable_index(variable)


# Files.


def in_safe_mode():
    """Returns the `safe_mode` under which a model is being loaded.

    In public it can be set, by `keras.saving.load_model` and `keras.config.enable_unsafe_deserialization`, not read.

    Returns:
        Bool, or None where no model is being loaded and nothing was set.
    """
    return serialization_lib.in_safe_mode()


def places_in_file(model):
    """Returns where Keras would write the variables of a model in a `.weights.h5` file.

    The places follow from a walk over all attributes of all parts of the model, which Keras does not show.

    Args:
        model: built `keras.Model`.

    Returns:
        Dict of places, such as `layers/conv2d_3`, to dicts of keys to variables, in the order of the file; and a dict
        of places to the names of what stands there, None where it has none.
    """
    record = _Record()
    saving_lib._save_state(model, record, None, "", set())
    return record.variables, record.names


class _Record(saving_lib.H5IOStore):
    """Keeps the variables instead of writing their values, as a store for Keras."""

    def __init__(self):
        self.variables, self.names = {}, {}

    def __bool__(self):
        return True

    def make(self, path, metadata=None):
        self.names[path] = metadata and metadata["name"]
        return self.variables.setdefault(path, {})


# Data.


def made_of(dataset):
    """Returns the datasets of which a `tf.data.Dataset` was made, which no public attribute tells.

    Args:
        dataset: `tf.data.Dataset`.

    Returns:
        List of datasets, empty for one that was made of arrays, a generator or files.
    """
    return list(dataset._inputs())


# Training.


class Trainer(keras.Model):
    """A `keras.Model` whose `fit` and `evaluate` are right under three circumstances in which Keras's own are not.

    Its training begins sooner too. On TensorFlow, Keras makes the variables of metrics and optimizer while it traces
    the first step, which `tf.function` then traces a second time, for a graph that makes none. Here they come before.

    - Under `MultiWorkerMirroredStrategy` they fail (keras#20585) in two places: building from a batch of another
      worker's values, and averaging logs that have no axis to average over. Here networks are built before.
    - Where the length of a dataset is unknown, a last step finds no data. What reads none (counters, teachers, the row
      counts of metrics, Keras's own too) would move all the same; here all of the step waits for it.
    - A call that failed, on wrong data perhaps, leaves a half-traced function, with which every later call fails until
      the model is compiled again. Here the next call traces anew.

    All but the last need methods that have private names alone: a custom `train_step` is called too late for them.
    """

    _about_to_train = False

    def fit(self, *args, **kwargs):
        """Trains, as `keras.Model.fit`."""
        self.check_data(*args, **kwargs)
        self.check_training_data(*args, **kwargs)
        given = inspect.signature(super().fit).bind(*args, **kwargs).arguments.get("validation_data")
        if given is not None:
            self.check_data(*(given if isinstance(given, (tuple, list)) else (given,)))
        with self._traced_anew_after_failure(), self._built_for_training():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Evaluates, as `keras.Model.evaluate`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # so `fit` calls it after each epoch, on what it has checked
            self.check_data(*args, **kwargs)
        with self._traced_anew_after_failure():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """Predicts, as `keras.Model.predict`."""
        with self._traced_anew_after_failure():
            return super().predict(*args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """Trains on one batch, as `keras.Model.train_on_batch`."""
        self.check_data(*args, **kwargs)
        self.check_training_data(*args, **kwargs)
        with self._traced_anew_after_failure(), self._built_for_training():
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """Evaluates one batch, as `keras.Model.test_on_batch`."""
        self.check_data(*args, **kwargs)
        with self._traced_anew_after_failure():
            return super().test_on_batch(*args, **kwargs)

    def check_data(self, x=None, y=None, *_, **__):
        """Checks what `fit` and the like are called with, before anything has trained."""

    def check_training_data(self, x=None, y=None, *_, **__):
        """Checks what may be evaluated and not trained on."""

    @contextlib.contextmanager
    def _traced_anew_after_failure(self):
        try:
            yield
        except Exception as error:
            self.train_function = self.test_function = self.predict_function = None
            if type(error).__name__ == "InvalidArgumentError" and "a label value" in str(error):
                found = str(error).split("a label value")[1].split("Label values:")[0].strip()
                raise ValueError(
                    f"Expected labels that are classes of the network; received a label {found}"
                ) from error
            raise

    @contextlib.contextmanager
    def _built_for_training(self):
        self._about_to_train = True
        try:
            yield
        finally:
            self._about_to_train = False

    @property
    def _multi_worker(self):
        if keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        return isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not self._multi_worker:
            super()._maybe_symbolic_build(iterator, data_batch)
            if keras.backend.backend() == "tensorflow" and self._distribute_strategy is None:
                self._build_before_tracing(iterator, data_batch)
            return
        if not all(layer.built for layer in self.layers):
            raise ValueError(
                "Expected built networks under MultiWorkerMirroredStrategy; received some that are not. "
                "Call `model.build(input_shape)` inside the strategy's scope."
            )
        self.build(None)
        with self.distribute_strategy.scope():
            if self.optimizer is not None:
                self.optimizer.build(self.trainable_variables)

    def _build_before_tracing(self, iterator, data_batch):
        """Makes the variables of a training step from the shapes of its data, none of which is read."""
        if not self._about_to_train or self.run_eagerly or self.train_function is not None:
            return
        # What cannot be built from shapes alone, or is wrong, is for the trace to make, or to say.
        with contextlib.suppress(Exception):
            if data_batch is None:
                data_batch = iterator._distributed_dataset.element_spec
            self._symbolic_build(data_batch=data_batch)

    def _make_function(self, step_function, **kwargs):
        if keras.backend.backend() != "tensorflow":
            return super()._make_function(step_function, **kwargs)
        import tensorflow as tf

        def create(next_creator, **kwargs):
            with tf.control_dependencies(None):  # XLA cannot create variables that wait
                return next_creator(**kwargs)

        def one_step(data):
            found = [part for part in tf.nest.flatten(data, expand_composites=True) if part is not None]
            with tf.variable_creator_scope(create), tf.control_dependencies(found):
                logs = step_function(data)
            return {name: ops.reshape(value, (1,)) for name, value in logs.items()} if self._multi_worker else logs

        return super()._make_function(one_step, **kwargs)

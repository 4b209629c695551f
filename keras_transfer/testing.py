"""The contract that every layer, loss and model keeps, as checks to call from tests; for users' own methods too."""

import functools
import pathlib
import tempfile
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transfer import serving


def check_layer(layer, x):
    """Checks that a layer keeps its config, its stated output shape and finite gradients, in float16 too.

    Args:
        layer: a layer with a deterministic output.
        x: floating array `(batch, ...)`.

    Raises:
        AssertionError: if the layer breaks the contract.
    """
    y = layer(x)
    expected = layer.compute_output_shape(x.shape)
    _expect(tuple(y.shape) == tuple(expected), f"output shape {tuple(y.shape)}, stated {tuple(expected)}")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    _expect(again.get_config() == layer.get_config(), "the config changed in a round trip")
    again(x)
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(_numpy(again(x)), _numpy(y), rtol=1e-6, err_msg="outputs changed in a round trip")
    for dtype in ("float32", "mixed_float16"):
        twin = type(layer).from_config({**layer.get_config(), "dtype": dtype})
        gradient = _gradient(lambda v, twin=twin: ops.mean(ops.square(ops.cast(twin(v), "float32"))), x)
        _expect(np.isfinite(gradient).all(), f"the gradient is not finite in {dtype}")


def check_loss(function, loss, y_true, y_pred):
    """Checks that a loss function is a finite scalar with finite gradients, and that its class agrees with it.

    Args:
        function: function of `(y_true, y_pred)`.
        loss: the `keras.losses.Loss` of the same settings, or None where there is none.
        y_true: array.
        y_pred: floating array, which gradients are taken for.

    Raises:
        AssertionError: if the loss breaks the contract.
    """
    value = _numpy(function(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)))
    _expect(value.shape == () and np.isfinite(value), f"expected a finite scalar, received {value}")
    gradient = _gradient(lambda v: function(ops.convert_to_tensor(y_true), v), y_pred)
    _expect(np.isfinite(gradient).all() and np.abs(gradient).max() > 0, "the gradient is zero or not finite")
    half = _numpy(function(ops.cast(y_true, "float16"), ops.cast(y_pred, "float16")))
    np.testing.assert_allclose(half, value, rtol=0.05, atol=1e-3, err_msg="float16 inputs give another value")
    if loss is not None:
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        for twin in (loss, again):
            np.testing.assert_allclose(_numpy(twin(y_true, y_pred)), value, rtol=1e-6, err_msg="class and function")


_OVERFLOWS = 15  # steps that are skipped, each halves the scale of the loss, before 2^15 has become 1


class Subject:
    """A method under test, and what its checks look at: one training run, computed when a check first needs it.

    Example:

    ```python
    subject = kt.testing.Subject(make_model, (streams, labels), (x, labels))

    @pytest.mark.parametrize("check", kt.testing.MODEL_CHECKS)
    def test_contract(check):
        check(subject)
    ```

    Two steps are traced, as `fit` traces them. On TensorFlow what comes after runs eagerly: it computes the same and
    takes a fraction of the time.

    Args:
        make_model: function without arguments that returns a compiled model with small, new networks.
        batch: training batch `(x, y)` of arrays; x is the dict of streams, y may be None.
        plain: `(x, y)` of arrays, plain data; y is None where the model is not compiled with a loss.
        still: tuple of ends of the paths of trainable variables whose gradient is zero but for rounding, such as
            `"key/bias"` of an attention, where the softmax takes it away; they need not move.
    """

    def __init__(self, make_model, batch, plain, still=()):
        self.make_model, self.batch, self.plain, self.still = make_model, batch, plain, tuple(still)

    def new_model(self):
        """Returns a new model; the same weights each time."""
        return _new(self.make_model)

    @functools.cached_property
    def training(self):
        """The `Training` of a new model on the batch."""
        model = self.new_model()
        model.train_on_batch(*self.batch)
        before = [_numpy(v) for v in model.trainable_variables]
        logs = model.train_on_batch(*self.batch, return_dict=True)  # a gradient may have to pass weights that are zero
        after = [_numpy(v) for v in model.trainable_variables]
        return Training(_eager(model), logs, before, after, int(_numpy(model.step)))

    @functools.cached_property
    def reloaded(self):
        """The model of `training` as a `.keras` file gives it back, and the predictions of both, before they go on."""
        model = self.training.model
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.keras"
            model.save(path)
            again = _eager(keras.saving.load_model(path))
        return again, *(keras.tree.flatten(m.predict(self.plain[0], verbose=0)) for m in (model, again))

    @functools.cached_property
    def resumed(self):
        """The variables of the model of `training` and of the reloaded one after one more step of each."""
        models = self.training.model, self.reloaded[0]
        for model in models:
            model.train_on_batch(*self.batch)
        return [[_numpy(v) for v in model.variables] for model in models]


class Training(NamedTuple):
    """What two steps of training left.

    Attributes:
        model: the model.
        logs: dict of the logs of the second step.
        before: values of the trainable variables before the second step.
        after: values of the trainable variables after it.
        step: int, the model's counter.
    """

    model: Any
    logs: dict
    before: list
    after: list
    step: int


def check_step(subject):
    """Checks that training is finite, logs the declared terms and counts its steps; see `check_model`."""
    model, logs, _, _, step = subject.training
    terms = _terms(model)
    _expect(terms <= set(logs), f"expected the logs {sorted(terms)}, received {sorted(logs)}")
    _expect(all(np.isfinite(value) for value in logs.values()), f"logs are not finite: {logs}")
    _expect(step == 2, f"expected step 2 after 2 batches, received {step}")


def check_gradients(subject):
    """Checks that a gradient moves every trainable variable; see `check_model`."""
    model, _, before, after, _ = subject.training
    moves = [np.abs(new - old).max() for old, new in zip(before, after)]
    still = _still(model, subject, [move > 1e-6 * max(moves) for move in moves])  # less is rounding
    _expect(not still, f"no gradient moves {still}")


def check_plain_data(subject):
    """Checks that `predict` and `evaluate` take plain data, without rows of zeros for terms; see `check_model`."""
    model, (x, y) = subject.training.model, subject.plain
    predictions = keras.tree.flatten(model.predict(x, verbose=0))
    _expect(all(np.isfinite(part).all() for part in predictions), "predictions are not finite")
    if y is not None:
        logs = model.evaluate(x, y, verbose=0, return_dict=True)
        _expect(np.isfinite(logs["loss"]), f"evaluation on plain data is not finite: {logs}")
        shown = _terms(model) & set(logs)
        _expect(not model.streams or not shown, f"evaluation on plain data logs terms: {sorted(logs)}")


def check_round_trip(subject):
    """Checks that a `.keras` file gives equal predictions; see `check_model`."""
    _, expected, found = subject.reloaded
    for old, new in zip(expected, found, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6, err_msg="predictions changed in a .keras round trip")


def check_resuming(subject):
    """Checks that training goes on after a `.keras` round trip as if never interrupted; see `check_model`."""
    for variable, old, new in zip(subject.training.model.variables, *subject.resumed, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6, err_msg=f"{variable.path} after resuming")


def check_float16(subject):
    """Checks that a mixed_float16 model scales its loss and moves by finite gradients; see `check_model`."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _eager(subject.new_model())
        _expect(isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer), "the loss is not scaled in float16")
        before = [_numpy(v) for v in model.trainable_variables]
        for _ in range(_OVERFLOWS + 2):
            logs = model.train_on_batch(*subject.batch, return_dict=True)
            after = [_numpy(v) for v in model.trainable_variables]
            still = _still(model, subject, [not np.array_equal(*pair) for pair in zip(before, after)])
            if not still:
                break
    finally:
        keras.config.set_dtype_policy(policy)
    _expect(all(np.isfinite(value) for value in logs.values()), f"float16 logs are not finite: {logs}")
    _expect(all(np.isfinite(w).all() for w in model.get_weights()), "float16 weights are not finite")
    _expect(not still, f"float16 training does not move {still}")


def check_export(subject):
    """Checks that another process, without this package, answers as the model does; see `check_model`."""
    model, x = subject.training.model, subject.plain[0]
    with tempfile.TemporaryDirectory() as folder:
        serving.export(model, folder, x, verify=False)
        try:
            serving.verify(folder, model, x)
        except ValueError as difference:
            raise AssertionError(f"Contract broken: {difference}") from difference


MODEL_CHECKS = (
    check_step,
    check_gradients,
    check_plain_data,
    check_round_trip,
    check_resuming,
    check_float16,
    check_export,
)


def check_model(make_model, batch, plain, export=True, still=()):
    """Checks the whole contract of a method: every check of `MODEL_CHECKS`.

    In tests, let each check be one of its own, as at `Subject`: it is named, and its failure hides no other.

    Args:
        make_model: function without arguments that returns a compiled model with small, new networks.
        batch: training batch `(x, y)` of arrays; x is the dict of streams, y may be None.
        plain: `(x, y)` of arrays, plain data; y is None where the model is not compiled with a loss.
        export: whether to export and to compare in another process, which takes seconds to start; TensorFlow only.
        still: see `Subject`.

    Raises:
        AssertionError: if the model breaks the contract; the message has a line for each check that fails.
    """
    subject, failures = Subject(make_model, batch, plain, still), []
    for check in MODEL_CHECKS if export else MODEL_CHECKS[:-1]:
        try:
            check(subject)
        except AssertionError as failure:
            failures.append(f"{check.__name__}: {failure}")
    if failures:
        raise AssertionError("\n".join(failures))


def check_replicas(make_model, batches, strategy, tolerance=1e-5):
    """Checks that training on the replicas of a strategy gives the weights of one replica on the same global batches.

    Networks with BatchNormalization need `synchronized=True` for that.

    Args:
        make_model: function without arguments that returns a compiled model.
        batches: list of global training batches `(x, y)`, y None without labels; the rows divide by the replicas.
        strategy: a `tf.distribute.Strategy`. One process should hold one only.
        tolerance: float, the largest difference that is accepted.

    Returns:
        The largest difference of a weight.

    Raises:
        AssertionError: if the weights or the logs differ by more.
    """
    import tensorflow as tf

    def dataset():
        labelled = batches[0][1] is not None
        joined = keras.tree.map_structure(
            lambda *parts: np.stack(parts), *(batch if labelled else batch[0] for batch in batches)
        )
        return tf.data.Dataset.from_tensor_slices(joined)

    one = _new(make_model)
    one.run_eagerly = True  # it computes the same, without being traced
    with strategy.scope():
        many = _new(make_model)
    logs = [model.fit(dataset(), shuffle=False, verbose=0).history for model in (one, many)]
    difference = max(float(np.abs(a - b).max()) for a, b in zip(one.get_weights(), many.get_weights()))
    _expect(difference <= tolerance, f"weights of {strategy.num_replicas_in_sync} replicas differ by {difference}")
    for name in logs[0]:
        np.testing.assert_allclose(logs[1][name], logs[0][name], atol=1e-4, err_msg=f"log {name!r} of the replicas")
    return difference


def _new(make_model):
    keras.utils.set_random_seed(0)
    return make_model()


def _still(model, subject, moved):
    """The paths of the trainable variables that did not move though they should."""
    paths = [v.path for v, moves in zip(model.trainable_variables, moved) if not moves]
    return [path for path in paths if not path.endswith(subject.still)]


def _terms(model):
    """The names of the logs of the terms that a model declares."""
    return {f"{name}_term" for name in model.term_weights}


def _eager(model):
    """The model, which from here on runs eagerly where that takes less time than tracing."""
    if keras.backend.backend() == "tensorflow":
        model.run_eagerly = True
        model.make_train_function(force=True)
    return model


def _gradient(function, x):
    """The gradient of a scalar function of one array, on every backend: through a Keras variable and plain SGD."""

    class Probe(keras.Model):
        def __init__(self):
            super().__init__()
            self.x = self.add_weight(shape=x.shape, initializer=keras.initializers.Constant(x))

        def call(self, inputs):
            return inputs

        def compute_loss(self, *args, **kwargs):
            return function(ops.convert_to_tensor(self.x))

    probe = Probe()
    probe.compile(keras.optimizers.SGD(1.0))
    _eager(probe).train_on_batch(np.zeros((1, 1), "float32"))
    return x - _numpy(probe.x)


def _numpy(x):
    return x.numpy() if isinstance(x, keras.Variable) else ops.convert_to_numpy(x)


def _expect(condition, message):
    if not condition:
        raise AssertionError(f"Contract broken: {message}.")

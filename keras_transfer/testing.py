"""The contract that every layer, loss and model keeps, as checks to call from tests; for users' own methods too."""

import pathlib
import tempfile

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


def check_model(make_model, batch, plain, export=True):
    """Checks the contract of a method: training, evaluation, saving, float16 and export.

    Args:
        make_model: function without arguments that returns a compiled model with small, new networks.
        batch: training batch `(x, y)` of arrays; x is the dict of streams, y may be None.
        plain: `(x, y)` of arrays, plain data; y is None where the model is not compiled with a loss.
        export: whether to export and reload in a fresh process, which takes some seconds; TensorFlow only.

    Raises:
        AssertionError: if the model breaks the contract.
    """
    check_training(make_model, batch, plain)
    check_saving(make_model, batch, plain)
    check_float16(make_model, batch)
    if export:
        with tempfile.TemporaryDirectory() as folder:
            model = _new(make_model)
            model.train_on_batch(*batch)
            serving.export(model, folder, plain[0])
            serving.verify(folder, model, plain[0])


def check_training(make_model, batch, plain):
    """Checks that a step is finite, logs the declared terms and moves every trainable variable; see `check_model`."""
    model = _new(make_model)
    before = None
    for _ in range(2):  # twice: a gradient may have to pass weights that start at zero
        logs = model.train_on_batch(*batch, return_dict=True)
        before = before or [_numpy(v) for v in model.trainable_variables]
    terms = {f"{name}_term" for name in model.term_weights}
    _expect(terms <= set(logs), f"expected the logs {sorted(terms)}, received {sorted(logs)}")
    _expect(all(np.isfinite(value) for value in logs.values()), f"logs are not finite: {logs}")
    still = [v.path for v, old in zip(model.trainable_variables, before) if np.array_equal(_numpy(v), old)]
    _expect(not still, f"no gradient moves {still}")
    _expect(int(_numpy(model.step)) == 2, f"expected step 2 after 2 batches, received {int(_numpy(model.step))}")
    x, y = plain
    _expect(np.isfinite(_numpy(keras.tree.flatten(model.predict(x, verbose=0))[0])).all(), "predictions are not finite")
    if y is not None:
        logs = model.evaluate(x, y, verbose=0, return_dict=True)
        _expect(np.isfinite(logs["loss"]), f"evaluation on plain data is not finite: {logs}")
        _expect(not model.streams or not terms & set(logs), f"evaluation on plain data logs terms: {sorted(logs)}")


def check_saving(make_model, batch, plain):
    """Checks that a `.keras` file gives equal predictions, and training that goes on as if never interrupted."""
    model = _new(make_model)
    model.train_on_batch(*batch)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        again = keras.saving.load_model(path)
    for old, new in zip(*(keras.tree.flatten(m.predict(plain[0], verbose=0)) for m in (model, again))):
        np.testing.assert_allclose(new, old, atol=1e-6, err_msg="predictions changed in a .keras round trip")
    for m in (model, again):
        m.train_on_batch(*batch)
    for old, new in zip(model.variables, again.variables):
        np.testing.assert_allclose(_numpy(new), _numpy(old), atol=1e-6, err_msg=f"{old.path} after resuming")


def check_float16(make_model, batch):
    """Checks that a mixed_float16 model scales its loss and moves its weights by finite gradients."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _new(make_model)
        _expect(isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer), "the loss is not scaled in float16")
        before = None
        for _ in range(3):
            logs = model.train_on_batch(*batch, return_dict=True)
            before = before or model.get_weights()
        _expect(all(np.isfinite(value) for value in logs.values()), f"float16 logs are not finite: {logs}")
        _expect(all(np.isfinite(w).all() for w in model.get_weights()), "float16 weights are not finite")
        moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
        _expect(sum(moved) >= len(model.trainable_variables), "float16 training moves nothing")
    finally:
        keras.config.set_dtype_policy(policy)


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
    probe.train_on_batch(np.zeros((1, 1), "float32"))
    return x - _numpy(probe.x)


def _numpy(x):
    return x.numpy() if isinstance(x, keras.Variable) else ops.convert_to_numpy(x)


def _expect(condition, message):
    if not condition:
        raise AssertionError(f"Contract broken: {message}.")

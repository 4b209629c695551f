"""Losses of tasks as `compile` says, and labels that are missing, against plain Keras and NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_transfer as kt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8)).astype("float32")
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def made(units=1, shape=None, missing=None, weighting=None, activation=None, **compiled):
    """A compiled model of tasks a and b that is not traced, and does not move."""
    keras.utils.set_random_seed(0)

    def head():
        layers = [keras.layers.Dense(units, activation)]
        if shape is not None:
            layers = [keras.layers.Dense(int(np.prod(shape)), activation), keras.layers.Reshape(shape)]
        return keras.Sequential(layers)

    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6, "tanh")])
    model = kt.models.SharedEncoder(encoder, {"a": head(), "b": head()}, weighting, missing)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True, **compiled)
    model.build((None, 8))
    return model


def plain(model, **compiled):
    """The same networks as an ordinary Keras model."""
    inputs = keras.Input((8,))
    features = model.encoder(inputs)
    outputs = {task: head(features) for task, head in model.heads.items()}
    one = keras.Model(inputs, outputs)
    one.compile(keras.optimizers.SGD(0.0), run_eagerly=True, **compiled)
    return one


def by_batches(model, y, sizes=(64, 16, 1), **arguments):
    """What `evaluate` says at several batch sizes, a list for each name."""
    found = [model.evaluate(X, y, batch_size=size, verbose=0, return_dict=True, **arguments) for size in sizes]
    return {name: [logs[name] for logs in found] for name in found[0]}


# What `compile` says.


def squared(y, prediction):
    return ops.mean(ops.square(y - prediction), axis=-1)


class Squared(keras.losses.Loss):
    def call(self, y, prediction):
        return ops.mean(ops.square(y - prediction), axis=-1)


@pytest.mark.parametrize("labels", ["(batch,)", "(batch, 1)", "integers"])
@pytest.mark.parametrize("loss", [squared, Squared(), "mse", keras.losses.Huber(1e9), lambda y, p: ops.square(y - p)])
def test_labels_and_predictions_have_one_rank(loss, labels):
    """`(batch,)` against `(batch, 1)` would be every label against every prediction."""
    y = {"a": X[:, 0], "b": X[:, 1]}
    if labels == "integers":
        y = {task: (label > 0).astype("int32") for task, label in y.items()}
    model = made(
        loss=loss, weighted_metrics={"a": [lambda y, p: ops.mean(ops.abs(ops.cast(y, p.dtype) - p), axis=-1)], "b": []}
    )
    predictions = model.predict(X, verbose=0)
    given = {task: label[:, None] for task, label in y.items()} if labels == "(batch, 1)" else y
    logs = model.evaluate(X, given, verbose=0, return_dict=True)
    half = 0.5 if isinstance(loss, keras.losses.Huber) else 1.0
    for task, label in y.items():
        expected = half * np.mean((predictions[task][:, 0] - label) ** 2)
        np.testing.assert_allclose(logs[f"{task}_term"], expected, rtol=1e-5)
    (metric,) = (value for name, value in logs.items() if name.startswith("a_") and name != "a_term")
    np.testing.assert_allclose(metric, np.mean(np.abs(predictions["a"][:, 0] - y["a"])), rtol=1e-5)


@pytest.mark.parametrize("loss", ["binary_crossentropy", "crossentropy", "mse", "mae", keras.losses.Dice()])
@pytest.mark.parametrize("dtype", ["int32", "float32", "bool"])
def test_losses_are_those_of_plain_keras(loss, dtype):
    y = {"a": (X[:, 0] > 0).astype(dtype), "b": (X[:, 1] > 0).astype(dtype)}
    model = made(loss=loss, activation="sigmoid")
    found = model.evaluate(X, y, batch_size=64, verbose=0, return_dict=True)["loss"]
    expected = plain(model, loss=dict.fromkeys(y, loss)).evaluate(X, y, batch_size=64, verbose=0, return_dict=True)
    np.testing.assert_allclose(found, expected["loss"], rtol=1e-5)


def test_large_targets_under_float16():
    """1,000 squared is no float16; losses are float32, as Keras's."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = made(loss="mse")
    finally:
        keras.config.set_dtype_policy("float32")
    y = {"a": np.full(64, 1000.0, "float32"), "b": X[:, 1]}
    logs = model.evaluate(X, y, verbose=0, return_dict=True)
    expected = np.mean((np.float32(model.predict(X, verbose=0)["a"][:, 0]) - 1000.0) ** 2)
    assert 9e5 < logs["a_term"] < 1.1e6
    np.testing.assert_allclose(logs["a_term"], expected, rtol=1e-5)


@pytest.mark.parametrize("weighting", [None, lambda: kt.weightings.StaticWeighting({"a": 10.0, "b": 1.0})])
def test_loss_weights_are_honoured(weighting):
    y = {"a": X[:, 0], "b": X[:, 1]}
    model = made(loss="mse", loss_weights={"a": 0.25, "b": 3.0}, weighting=weighting and weighting())
    for logs in (model.evaluate(X, y, verbose=0, return_dict=True), model.train_on_batch(X, y, return_dict=True)):
        a = 0.25 if weighting is None else 2.5
        np.testing.assert_allclose(logs["loss"], a * logs["a_term"] + 3.0 * logs["b_term"], rtol=1e-5)
    if weighting is None:
        one = plain(model, loss=dict.fromkeys(y, "mse"), loss_weights={"a": 0.25, "b": 3.0})
        np.testing.assert_allclose(one.evaluate(X, y, verbose=0, return_dict=True)["loss"], logs["loss"], rtol=1e-5)


def test_masks_of_predictions_count_as_in_plain_keras():
    tokens = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [1, 2, 3, 4]])
    y = {task: RNG.integers(0, 3, tokens.shape) for task in "ab"}
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Embedding(5, 6, mask_zero=True)])
    heads = {task: keras.layers.Dense(3) for task in y}  # a Sequential would lose the mask
    model = kt.models.SharedEncoder(encoder, heads)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    logits = model.predict(tokens, verbose=0)["a"]
    found = model.evaluate(tokens, y, verbose=0, return_dict=True)["a_term"]
    values = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y["a"][..., None], -1)[..., 0]
    np.testing.assert_allclose(found, values[tokens > 0].mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("compiled", "message"),
    [
        ({}, "`SharedEncoder.compile` to be called with a `loss`; received None"),
        ({"loss": {"a": "mse", "b": None}}, r"a compiled loss for each of the tasks .* received {'b': None}"),
        ({"loss": ["mse", "mse"]}, r"a compiled loss for each of the tasks .* received"),
        ({"loss": "mse", "loss_weights": [1.0, 2.0]}, "`loss_weights` as a dict of the tasks"),
        ({"loss": "mse", "loss_weights": {"a": 1.0}}, r"`loss_weights` for each of the tasks .* none for \['b'\]"),
        (
            {"loss": keras.losses.MeanSquaredError(reduction="sum")},
            "loss of the task 'a' to be a mean.* received 'sum'",
        ),
    ],
)
def test_errors_of_compile(compiled, message):
    with pytest.raises(ValueError, match=message):
        made(**compiled).train_on_batch(X, {"a": X[:, 0], "b": X[:, 1]})


def test_errors_of_labels():
    with pytest.raises(ValueError, match="numbers in the labels of the task 'a'; received strings"):
        model = made(loss="mse")
        model.compute_loss(X, {"a": tf.constant(["x"] * 64), "b": X[:, 1]}, model(X))
    model = made(loss="mse")
    with pytest.raises(ValueError, match="sample weights, and losses, of the task 'a' for each row"):
        model.train_on_batch(X, {"a": X[:, 0], "b": X[:, 1]}, {"a": np.ones((64, 3)), "b": np.ones(64)})
    model = made(loss=lambda y, p: ops.mean(ops.square(y - p)), missing=-1)
    with pytest.raises(ValueError, match="loss of the task 'a' to have a value for each row, since labels may be miss"):
        model.train_on_batch(X, {"a": X[:, 0], "b": X[:, 1]})


# Labels that are missing.


@pytest.mark.parametrize("use", ["missing", "sample_weight"])
def test_means_do_not_depend_on_the_batch_size(use):
    """16 of 64 labels are there; the last rows have none."""
    there = np.arange(64) < 16
    y = {"a": X[:, 0], "b": np.where(there, X[:, 1], np.nan if use == "missing" else 0.0)}
    weights = {} if use == "missing" else {"sample_weight": {"a": np.ones(64), "b": there.astype("float32")}}
    model = made(loss="mse", missing=float("nan") if use == "missing" else None, weighted_metrics={"b": ["mae"]})
    predictions = model.predict(X, verbose=0)
    found = by_batches(model, y, **weights)
    a = np.mean((predictions["a"][:, 0] - y["a"]) ** 2)
    b = np.mean((predictions["b"][there, 0] - X[there, 1]) ** 2)
    np.testing.assert_allclose(found["a_term"], [a] * 3, rtol=1e-5)
    np.testing.assert_allclose(found["b_term"], [b] * 3, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], [a + b] * 3, rtol=1e-5)
    expected = np.mean(np.abs(predictions["b"][there, 0] - X[there, 1]))
    np.testing.assert_allclose(found["b_mae"], [expected] * 3, rtol=1e-5)


WEIGHTINGS = {
    "none": lambda: None,
    "static": lambda: kt.weightings.StaticWeighting({"a": 0.5, "b": 2.0}),
    "uncertainty": lambda: kt.weightings.Uncertainty(regression=("b",), from_first_losses=True),
    "average": lambda: kt.weightings.DynamicWeightAverage(steps=1),
    **({"gradients": kt.weightings.GradNorm} if ON_TENSORFLOW else {}),
}


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_loss_of_fit_and_evaluate_is_that_of_the_labels(weighting):
    """With a regulariser and a term of no labels, and with what the weighting learned."""
    keras.utils.set_random_seed(0)

    def tower():
        layer = keras.layers.Dense(6, "tanh", kernel_regularizer=keras.regularizers.L2(0.01))
        return keras.Sequential([keras.Input((8,)), layer])

    heads = {task: keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)]) for task in "ab"}
    model = kt.models.SoftSharing(
        {"a": tower(), "b": tower()}, heads, pull_weight=0.1, weighting=WEIGHTINGS[weighting](), missing=float("nan")
    )
    model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
    y = {"a": X[:, 0], "b": np.where(np.arange(64) < 16, 3 * X[:, 1], np.nan)}
    model.fit(X, y, batch_size=16, verbose=0)
    found = by_batches(model, y, sizes=(64, 8))
    np.testing.assert_allclose(found["loss"][1], found["loss"][0], rtol=1e-5)
    model.optimizer.learning_rate = 0.0
    history = model.fit(X, y, batch_size=16, shuffle=False, verbose=0, validation_data=(X, y)).history
    np.testing.assert_allclose(history["val_loss"], found["loss"][:1], rtol=1e-5)
    np.testing.assert_allclose([history["b_term"][0]] * 2, found["b_term"], rtol=1e-5)
    if weighting in ("none", "static", "gradients"):  # others weigh anew in each step
        np.testing.assert_allclose(history["loss"], found["loss"][:1], rtol=1e-5)


def test_a_task_without_labels_has_no_log_of_an_epoch():
    model = made(loss="mse", missing=float("nan"))
    history = model.fit(X, {"a": X[:, 0], "b": np.full(64, np.nan)}, batch_size=16, verbose=0).history
    assert "a_term" in history and history.get("b_term", [0.0]) == [0.0]
    np.testing.assert_allclose(history["loss"], history["a_term"], rtol=1e-6)


def test_void_pixels_leave_the_other_pixels():
    """One of 16 pixels of each image is void; half of the images of the second task are."""
    shape, loss = (4, 4, 3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    y = {task: RNG.integers(0, 3, (64, 4, 4)).astype("uint8") for task in "ab"}
    y["a"][:, 1, 2] = 255
    y["b"][::2] = 255
    model = made(shape=shape, missing=255, loss=loss, weighted_metrics={task: ["accuracy"] for task in y})
    logits = model.predict(X, verbose=0)
    found = by_batches(model, y, sizes=(64, 5))
    for task, label in y.items():
        there, p = label != 255, logits[task]
        values = np.log(np.exp(p).sum(-1)) - np.take_along_axis(p, np.where(there, label, 0)[..., None], -1)[..., 0]
        np.testing.assert_allclose(found[f"{task}_term"], [values[there].mean()] * 2, rtol=1e-5)
        np.testing.assert_allclose(
            found[f"{task}_accuracy"], [np.mean(p.argmax(-1)[there] == label[there])] * 2, rtol=1e-5
        )


def test_pixels_of_one_class_and_a_channel():
    """Labels and predictions `(batch, height, width, 1)`."""
    y = {task: RNG.integers(0, 2, (64, 4, 4, 1)).astype("int32") for task in "ab"}
    y["a"][:, 1, 2] = -1
    metrics = {task: ["accuracy", keras.metrics.Precision(name="precision")] for task in y}
    model = made(
        shape=(4, 4, 1), missing=-1, activation="sigmoid", loss="binary_crossentropy", weighted_metrics=metrics
    )
    p, there = model.predict(X, verbose=0)["a"], y["a"] >= 0
    found = by_batches(model, y, sizes=(64, 5))
    expected = -np.log(np.where(y["a"] == 1, p, 1 - p))[there].mean()
    np.testing.assert_allclose(found["a_term"], [expected] * 2, rtol=1e-4)
    guessed = (p > 0.5)[there]
    np.testing.assert_allclose(found["a_accuracy"], [np.mean(guessed == y["a"][there])] * 2, rtol=1e-5)
    np.testing.assert_allclose(found["a_precision"], [y["a"][there][guessed].mean()] * 2, rtol=1e-5)


@pytest.mark.parametrize("kind", ["multi-label", "regression", "unreduced"])
def test_entries_of_a_row_can_be_missing(kind):
    loss = {
        "multi-label": keras.losses.BinaryCrossentropy(),
        "regression": "mse",
        "unreduced": lambda y, p: ops.square(y - p),
    }[kind]
    y = {task: RNG.integers(0, 2, (64, 5)).astype("float32") for task in "ab"}
    y["a"][RNG.random((64, 5)) < 0.3] = -1
    metrics = {
        "a": [keras.metrics.BinaryAccuracy(name="accuracy"), "mae", keras.metrics.Precision(), keras.metrics.AUC()]
    }
    model = made(5, missing=-1, activation="sigmoid", loss=loss, weighted_metrics=metrics)
    p, there = model.predict(X, verbose=0)["a"], y["a"] >= 0
    assert 0.6 < there.mean() < 0.8 and there.all(axis=1).mean() < 0.3
    found = by_batches(model, y, sizes=(64, 5))
    error = np.where(there, np.abs(p - y["a"]), 0.0)
    values = -np.log(1 - error) if kind == "multi-label" else error**2
    np.testing.assert_allclose(found["a_term"], [values[there].mean()] * 2, rtol=1e-4)
    np.testing.assert_allclose(found["a_mae"], [error[there].mean()] * 2, rtol=1e-5)
    np.testing.assert_allclose(found["a_accuracy"], [np.mean(error[there] < 0.5)] * 2, rtol=1e-5)
    (precision,) = (value for name, value in found.items() if name.startswith("a_precision"))
    np.testing.assert_allclose(precision, [y["a"][there][p[there] > 0.5].mean()] * 2, rtol=1e-5)
    (area,) = (value for name, value in found.items() if name.startswith("a_auc"))
    expected = keras.metrics.AUC()
    expected.update_state(y["a"][there], p[there])
    np.testing.assert_allclose(area, [float(expected.result())] * 2, rtol=1e-5)


def test_a_loss_that_joins_entries_leaves_out_rows():
    """A one-hot label with an entry missing is none."""
    y = {task: np.eye(3, dtype="float32")[RNG.integers(0, 3, 64)] for task in "ab"}
    y["a"][::4, 1] = np.nan
    model = made(
        3,
        missing=float("nan"),
        activation="softmax",
        loss="categorical_crossentropy",
        weighted_metrics={task: ["accuracy"] for task in y},
    )
    p, there = model.predict(X, verbose=0)["a"], np.arange(64) % 4 > 0
    found = by_batches(model, y, sizes=(64, 5))
    np.testing.assert_allclose(found["a_term"], [-np.log((p * y["a"]).sum(1)[there]).mean()] * 2, rtol=1e-5)
    right = p[there].argmax(1) == y["a"][there].argmax(1)
    np.testing.assert_allclose(found["a_accuracy"], [right.mean()] * 2, rtol=1e-5)


def test_missing_differs_by_task(tmp_path):
    """-1 is an honest value of a regression."""
    y = {"a": np.where(np.arange(64) % 2, X[:, 0], -1.0).astype("float32"), "b": np.where(np.arange(64) % 2, 1, -1)}
    model = made(loss="mse", missing={"b": -1})
    p = model.predict(X, verbose=0)
    logs = model.evaluate(X, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["a_term"], np.mean((p["a"][:, 0] - y["a"]) ** 2), rtol=1e-5)
    np.testing.assert_allclose(logs["b_term"], np.mean((p["b"][1::2, 0] - 1) ** 2), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert dict(again.missing) == {"b": -1}
    again.compile("sgd", "mse", metrics={"a": ["mae"]})
    found = again.evaluate(X, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], logs["loss"], rtol=1e-5)
    np.testing.assert_allclose(found["a_mae"], np.mean(np.abs(p["a"][:, 0] - y["a"])), rtol=1e-5)
    again.compile("sgd", "mse", metrics={"b": ["mae"]})
    with pytest.raises(ValueError, match="as `weighted_metrics`, since labels may be missing"):
        again.evaluate(X, y, verbose=0)


@pytest.mark.parametrize(("missing", "dtype"), [(-1, "uint8"), (0.5, "int32"), (-1, "bool"), (float("nan"), "int32")])
def test_what_labels_cannot_be_is_not_missing(missing, dtype):
    """-1 as a byte would be 255, 0.5 as an integer 0, -1 as a bool True."""
    label = np.array([0, 1, 255] * 21 + [0]).astype(dtype)
    model = made(loss="mse", missing=missing)
    p = model.predict(X, verbose=0)
    logs = model.evaluate(X, {"a": label, "b": label}, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["a_term"], np.mean((p["a"][:, 0] - label) ** 2), rtol=1e-5)


@pytest.mark.parametrize("missing", ["none", True, float("inf"), [-1], {"a": "none"}, {"c": -1}])
def test_errors_of_missing(missing):
    with pytest.raises(ValueError, match="`missing`"):
        made(missing=missing)


def test_a_mean_by_the_weights():
    """Of Keras's reductions, the one that divides by the sum of the weights."""
    loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    weight = np.arange(64) / 64.0
    y = {"a": X[:, 0], "b": X[:, 1]}
    model = made(loss=loss)
    p = model.predict(X, verbose=0)["a"][:, 0]
    found = by_batches(model, y, sample_weight={"a": weight, "b": np.ones(64)})
    np.testing.assert_allclose(found["a_term"], [np.average((p - y["a"]) ** 2, weights=weight)] * 3, rtol=1e-5)

"""What an export says its output is: values of a client against numpy and `model.predict`, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_transfer as kt

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 8)).astype("float32")
Y = (X[:, 0] > 0).astype("int32")


def network(*parts, inputs=8):
    return keras.Sequential([keras.Input((inputs,)), *parts])


def first_column(activation=None):
    """One output that is right for every row: 4 times the first column."""
    model = network(layers.Dense(1, activation=activation, name="answer"))
    model.layers[-1].kernel.assign(4.0 * np.eye(8)[:, :1])
    return model


def served(version, signature="serving_default", **inputs):
    answers = tf.saved_model.load(str(version)).signatures[signature](**inputs or {"images": X})
    return {name: value.numpy() for name, value in answers.items()}


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# Probabilities where logits are meant.


class Hidden(keras.Model):
    """A model whose softmax nobody can see."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return ops.softmax(self.dense(x))


def functional():
    inputs = keras.Input((8,))
    return keras.Model(inputs, ops.softmax(layers.Dense(3)(inputs)))


def hidden():
    model = Hidden()
    model(X)
    return model


def tasks(**heads):
    return kt.models.SharedEncoder(network(layers.Dense(6, "tanh", name="features")), heads)


def maml(activation=None):
    model = kt.models.MAML(network(layers.Dense(3, activation, name="answer")), rate=0.1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None))
    return model


def dan():
    model = kt.models.DAN(network(layers.Dense(6)), network(layers.Dense(3), layers.Softmax(name="end"), inputs=6))
    model(X)
    return model


def dict_of_outputs():
    inputs = keras.Input((8,))
    return keras.Model(inputs, {"a": layers.Dense(3, "softmax", name="end")(inputs), "b": layers.Dense(3)(inputs)})


@pytest.mark.parametrize(
    ("make", "options", "layer"),
    [
        (lambda: first_column("sigmoid"), {"classes": ["no", "yes"]}, "'answer' .*sigmoid"),
        (lambda: network(network(layers.Dense(3)), layers.Softmax(name="end")), {"classes": "abc"}, "'end' .*Softmax"),
        (lambda: network(layers.Dense(3, "softmax", name="end"), layers.Dropout(0.1)), {"outputs": "logits"}, "'end'"),
        (functional, {"classes": "abc"}, "softmax"),
        (hidden, {"classes": "abc"}, "sum to 1, as a softmax makes them"),
        (dan, {"classes": "abc"}, "`head` .* 'end'"),
        (lambda: maml("softmax"), {"classes": "abc"}, "'answer'"),
        (dict_of_outputs, {"classes": {"a": "abc"}}, r"`model\['a'\]` .* 'end'"),
        (
            lambda: tasks(a=layers.Dense(3, "softmax", name="end"), b=layers.Dense(1)),
            {"classes": {"a": "abc"}},
            r"`heads\['a'\]` .* 'end'",
        ),
    ],
    ids=["sigmoid", "nested", "before Dropout", "functional", "hidden", "method", "adapting", "dict", "task"],
)
def test_probabilities_are_refused_as_logits(make, options, layer, tmp_path):
    model = make()
    model.build((None, 8)) if not model.built else None
    with pytest.raises(ValueError, match=f'(?s){layer}.*outputs="probabilities"'):
        kt.export(model, tmp_path / "model", X, **options)
    assert not list(tmp_path.iterdir())


def test_a_sigmoid_is_served_as_the_probability_of_the_second_class(tmp_path):
    model = first_column("sigmoid")
    version = kt.export(model, tmp_path, X, classes=["no", "yes"], outputs="probabilities")
    answers = served(version)
    assert set(answers) == {"probabilities", "class_id", "class_name"}
    np.testing.assert_array_equal(answers["class_name"], np.where(Y == 1, b"yes", b"no"))
    p = sigmoid(4 * X[:, :1].astype("float64"))
    np.testing.assert_allclose(answers["probabilities"], np.concatenate([1 - p, p], -1), atol=1e-6)
    assert kt.serving.verify(version, model, X).from_predict["serving_default"] <= 1e-6


@pytest.mark.parametrize("make", [functional, hidden, dan], ids=lambda make: make.__name__)
def test_a_softmax_is_served_as_it_is(make, tmp_path):
    model = make()
    answers = served(kt.export(model, tmp_path, X, classes="abc", outputs="probabilities"))
    expected = model.predict(X, verbose=0)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(answers["class_id"], expected.argmax(-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": "probabilities"}, "between 0 and 1; received values from .*Pass `outputs` as 'logits'"),
        ({"outputs": "multi_label_probabilities"}, "Pass `outputs` as 'multi_label'"),
        ({"outputs": "softmax"}, "one of .*'multi_label'.*; received 'softmax'"),
        ({"outputs": {"a": "logits"}}, r"a dict of outputs, one for each of \['a'\]"),
        ({"classes": ["a", "b", "a"]}, "a name of its own for each class; received a more than once"),
    ],
)
def test_what_is_not_so(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kt.export(network(layers.Dense(3)), tmp_path / "model", X, **options)
    assert not list(tmp_path.iterdir())


def test_independent_probabilities_are_no_classes(tmp_path):
    with pytest.raises(ValueError, match='which sum to 1; .*outputs="multi_label"'):
        kt.export(network(layers.Dense(3, "sigmoid")), tmp_path, X, outputs="probabilities")
    with pytest.raises(ValueError, match='independent of one another; .*outputs="probabilities"'):
        kt.export(network(layers.Dense(3, "softmax")), tmp_path, X, outputs="multi_label")


def test_what_may_be_probabilities_is_told(tmp_path):
    """A sigmoid of one column in a layer's own call: nothing shows it but its values."""

    class Squashed(layers.Layer):
        def call(self, x):
            return ops.sigmoid(x)

    with pytest.warns(UserWarning, match="between .* alone, as probabilities are"):
        kt.export(network(layers.Dense(1), Squashed()), tmp_path, X, classes=["no", "yes"])


# No classification, and labels that do not exclude one another.


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)], ids=str)
def test_a_prediction_is_served_as_it_is(shape, tmp_path):
    parts = [layers.Dense(int(np.prod(shape)), bias_initializer="normal"), layers.Reshape(shape)]
    model = network(*parts)
    version = kt.export(model, tmp_path, X)
    answers = served(version)
    assert set(answers) == {"prediction"} and answers["prediction"].shape == (64, *shape)
    dense = model.layers[0]
    expected = X @ dense.kernel.numpy() + dense.bias.numpy()
    np.testing.assert_allclose(answers["prediction"].reshape(64, -1), expected, atol=1e-5)
    assert kt.serving.verify(version, model, X).differences["serving_default"] <= 1e-5


def test_integers_stay_integers(tmp_path):
    model = network(layers.Dense(3), layers.Lambda(lambda z: ops.argmax(z, -1), output_shape=()))
    answers = served(kt.export(model, tmp_path, X))
    np.testing.assert_array_equal(answers["prediction"], model.predict(X, verbose=0))
    assert answers["prediction"].dtype.kind == "i"


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_each_label_has_a_probability_of_its_own(activation, tmp_path):
    model = network(layers.Dense(3, activation))
    answers = served(kt.export(model, tmp_path, X, classes="abc", outputs="multi_label"))
    logits = X @ model.layers[0].kernel.numpy()
    assert set(answers) == ({"logits", "probabilities"} if activation is None else {"probabilities"})
    np.testing.assert_allclose(answers["probabilities"], sigmoid(logits), atol=1e-6)


# Several tasks, and models that adapt.


def test_each_task_says_what_it_is(tmp_path):
    heads = {"a": layers.Dense(3, "softmax"), "b": layers.Dense(1), "c": layers.Dense(2), "d": layers.Dense(2)}
    model = tasks(**heads)
    model.build((None, 8))
    version = kt.export(
        model, tmp_path, X, classes={"a": "abc", "c": "xy"}, outputs={"a": "probabilities", "d": "multi_label"}
    )
    answers, expected = served(version), model.predict(X, verbose=0)
    for task, value in expected.items():
        np.testing.assert_allclose(answers[task], value, atol=1e-6)
    np.testing.assert_allclose(answers["a_probabilities"], expected["a"], atol=1e-6)
    np.testing.assert_allclose(answers["c_probabilities"], softmax(expected["c"]), atol=1e-6)
    np.testing.assert_allclose(answers["d_probabilities"], sigmoid(expected["d"]), atol=1e-6)
    more = {f"{task}_{part}" for task in "ac" for part in ("probabilities", "class_id", "class_name")}
    assert set(answers) == {*heads, *more, "d_probabilities"}
    assert set(kt.serving.verify(version, model, X).from_predict) == {"serving_default", *heads}


@pytest.mark.parametrize("other", ["a_probabilities", "a_class_id"])
def test_outputs_that_would_overwrite_each_other(other, tmp_path):
    model = tasks(**{"a": layers.Dense(3), other: layers.Dense(1)})
    model.build((None, 8))
    inputs = keras.Input((8,))
    plain = keras.Model(inputs, {"a": layers.Dense(3)(inputs), other: layers.Dense(1)(inputs)})
    for each in (model, plain):
        with pytest.raises(ValueError, match=rf"of different names; received \['{other}'\]"):
            kt.export(each, tmp_path / "model", X, classes={"a": "abc"})
    assert set(served(kt.export(model, tmp_path, X))) == {"a", other}


def test_what_adapts_says_what_it_is(tmp_path):
    support, labels, query = X[:6], np.arange(6, dtype="int32") % 3, X[6:9]
    feed = {"support": support, "labels": labels, "query": query}
    plain, soft = maml(), maml("softmax")
    expected = plain.adapt(support, labels).predict(query, verbose=0)
    answers = served(kt.export(plain, tmp_path / "a", X), "adapt_and_predict", **feed)
    assert set(answers) == {"prediction"}
    np.testing.assert_allclose(answers["prediction"], expected, atol=1e-6)
    answers = served(kt.export(plain, tmp_path / "b", X, classes="abc"), "adapt_and_classify", **feed)
    np.testing.assert_allclose(answers["probabilities"], softmax(expected), atol=1e-6)
    version = kt.export(soft, tmp_path / "c", X, outputs="probabilities")
    answers = served(version, "adapt_and_classify", **feed)
    expected = soft.adapt(support, labels).predict(query, verbose=0)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(answers["class_id"], expected.argmax(-1))


@pytest.mark.parametrize("options", [{"classes": "ab"}, {"outputs": "probabilities"}])
def test_classes_that_come_with_a_request_have_no_names(options, tmp_path):
    model = kt.models.PrototypicalNetwork(network(layers.Dense(3)))
    with pytest.raises(ValueError, match="the classes that come with each request"):
        kt.export(model, tmp_path, X, **options)


def test_no_class_of_what_is_no_number(tmp_path):
    answers = served(kt.export(first_column(), tmp_path, X, classes=["no", "yes"]), images=np.full_like(X[:1], np.nan))
    assert answers["class_id"] == -1 and answers["class_name"] == b""


def test_an_export_is_compared_with_predict(tmp_path):
    """What a user calls `predict` is another function than the one that is exported."""

    class Scaled(keras.Sequential):
        def predict_step(self, data):
            return 2.0 * super().predict_step(data)

    with pytest.raises(ValueError, match="all/serving_default/prediction differs by .* from model.predict"):
        kt.export(Scaled([keras.Input((8,)), layers.Dense(3)]), tmp_path / "model", X)
    assert not list(tmp_path.iterdir())

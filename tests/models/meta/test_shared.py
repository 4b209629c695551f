import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_transfer as kt
from keras_transfer.models.meta import shared
from tests.contract import compiled, episode_batch

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
rng = np.random.default_rng(0)


def dense():
    keras.utils.set_random_seed(1)
    hidden = [layers.Dense(6), layers.BatchNormalization(), layers.Activation("tanh")]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(3)])


def convolutions():
    keras.utils.set_random_seed(1)
    hidden = [layers.Reshape((4, 2, 1)), layers.Conv2D(4, 2), layers.BatchNormalization(), layers.Activation("tanh")]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Flatten(), layers.Dense(3)])


def predict(model, x):
    return ops.convert_to_numpy(model(x)["prediction"])


def one(x, episode):
    return keras.tree.map_structure(lambda rows: rows[episode : episode + 1], x)


@pytest.mark.parametrize("network, unrolled", [(dense, 32), (convolutions, 32), (convolutions, 1)])
def test_tasks_are_solved_alone_and_together(network, unrolled, monkeypatch):
    monkeypatch.setattr(shared, "_UNROLLED", unrolled)
    model = compiled(kt.models.MAML(network(), steps=2, rate=0.1))
    (x, _), _ = episode_batch()
    alone = np.concatenate([predict(model, one(x, episode)) for episode in range(4)])
    np.testing.assert_allclose(predict(model, x), alone, atol=1e-5)
    assert np.abs(alone - predict(compiled(kt.models.MAML(network(), steps=1, rate=0.1)), x)).max() > 1e-3


@pytest.mark.skipif(not ON_TENSORFLOW, reason="how TensorFlow runs it")
@pytest.mark.parametrize("method", [kt.models.MAML, kt.models.Reptile])
def test_no_loop_is_left_in_dense_networks(method, monkeypatch):
    """A converter that is missing would fall back to a loop, many times slower."""
    import tensorflow as tf

    monkeypatch.setattr(tf, "vectorized_map", functools.partial(tf.vectorized_map, fallback_to_while_loop=False))
    compiled(method(dense()), run_eagerly=True).train_on_batch(*episode_batch()[0])


def test_convolutions_and_dense_networks_learn_by_the_same_gradient(monkeypatch):
    """The second-order gradient through unrolled tasks is that through vectorised ones."""
    weights = []
    for kinds in ((), layers.Dense):  # Dense named as a convolution is unrolled
        monkeypatch.setattr(shared, "_CONVOLUTIONS", kinds)
        model = compiled(kt.models.MAML(dense(), steps=2, rate=0.3, learn_rates=True), run_eagerly=True)
        model.train_on_batch(*episode_batch()[0])
        weights.append(model.get_weights())
    for a, b in zip(*weights):
        np.testing.assert_allclose(a, b, atol=1e-5)


class TestBatchNormalization:
    """A network that only normalises, in each of the three ways; rate so small that nothing adapts."""

    def answer(self, x, statistics, training=False):
        normalize = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)
        network = keras.Sequential([keras.Input((8,)), normalize])
        normalize.moving_mean.assign(np.full(8, 2.0))
        model = kt.models.MAML(network, rate=1e-12, statistics=statistics)
        model.compile("sgd", "mse")
        before = [ops.convert_to_numpy(v) for v in network.non_trainable_variables]
        prediction = ops.convert_to_numpy(model(x, training=training)["prediction"])
        for old, new in zip(before, network.non_trainable_variables):
            np.testing.assert_array_equal(old, ops.convert_to_numpy(new))
        return prediction

    @pytest.fixture
    def x(self):
        support, query = (rng.normal(3.0, 2.0, (2, n, 8)).astype("float32") for n in (6, 5))
        return {"support": (support, np.zeros_like(support)), "query": query}

    @pytest.mark.parametrize("training", [False, True])
    def test_support(self, x, training):
        support, query = x["support"][0], x["query"]
        mean, variance = support.mean(1, keepdims=True), support.var(1, keepdims=True)
        expected = (query - mean) / np.sqrt(variance + 1e-3)
        np.testing.assert_allclose(self.answer(x, "support", training), expected, atol=1e-3)

    @pytest.mark.parametrize("training", [False, True])
    def test_batch(self, x, training):
        mean, variance = x["query"].mean(1, keepdims=True), x["query"].var(1, keepdims=True)
        expected = (x["query"] - mean) / np.sqrt(variance + 1e-3)
        np.testing.assert_allclose(self.answer(x, "batch", training), expected, atol=1e-3)

    @pytest.mark.parametrize("training", [False, True])
    def test_frozen(self, x, training):
        np.testing.assert_allclose(
            self.answer(x, "moving", training), (x["query"] - 2.0) / np.sqrt(1.0 + 1e-3), atol=1e-3
        )

    def test_a_frozen_layer_keeps_its_averages(self, x):
        network = keras.Sequential([keras.Input((8,)), layers.Dense(8), layers.BatchNormalization()])
        network.layers[-1].trainable = False
        model = kt.models.MAML(network, rate=1e-12)
        model.compile("sgd", "mse")
        expected = ops.convert_to_numpy(network(x["query"].reshape(-1, 8))).reshape(2, 5, 8)
        np.testing.assert_allclose(predict(model, x), expected, atol=1e-5)


@pytest.mark.parametrize("method", [kt.models.MAML, kt.models.Reptile, kt.models.ANIL])
@pytest.mark.parametrize("network", [dense, convolutions])
def test_adapt_gives_an_ordinary_model(method, network, tmp_path):
    arguments = (
        (keras.Sequential([keras.Input((8,)), layers.Identity()]), network())
        if method is kt.models.ANIL
        else (network(),)
    )
    model = compiled(method(*arguments, rate=0.1))
    (x, _), _ = episode_batch()
    before = model.get_weights()
    adapted = model.adapt(x["support"][0][1], x["support"][1][1])
    np.testing.assert_allclose(adapted.predict(x["query"][1], verbose=0), predict(model, one(x, 1))[0], atol=1e-5)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    adapted.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    np.testing.assert_allclose(
        again.predict(x["query"][1], verbose=0), adapted.predict(x["query"][1], verbose=0), atol=1e-6
    )
    unchanged = model.adapt(x["support"][0][1], x["support"][1][1], steps=0)
    for old, new in zip(model.trainable_variables[-2:], unchanged.trainable_variables[-2:]):
        np.testing.assert_array_equal(ops.convert_to_numpy(old), ops.convert_to_numpy(new))


def test_a_model_of_a_transductive_method_holds_the_statistics_of_the_support():
    (x, _), _ = episode_batch()
    adapted = [
        compiled(kt.models.MAML(dense(), rate=0.1, statistics=statistics)).adapt(x["support"][0][0], x["support"][1][0])
        for statistics in ("support", "batch")
    ]
    for a, b in zip(*(model.get_weights() for model in adapted)):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("method", [kt.models.MAML, kt.models.Reptile])
def test_inputs_with_structure(method):
    """A network of two inputs answers as one of both together."""
    left, right = keras.Input((3,), name="left"), keras.Input((5,), name="right")
    inner = dense()
    network = keras.Model({"left": left, "right": right}, inner(layers.Concatenate()([left, right])))

    def parts(array):
        return {"left": array[..., :3], "right": array[..., 3:]}

    (x, _), _ = episode_batch()
    split = {"support": (parts(x["support"][0]), x["support"][1]), "query": parts(x["query"])}
    expected = predict(compiled(method(inner, rate=0.1)), x)
    model = compiled(method(network, rate=0.1))
    np.testing.assert_allclose(predict(model, split), expected, atol=1e-4)
    task = keras.tree.map_structure(lambda array: array[1], split)
    np.testing.assert_allclose(model.adapt(*task["support"])(task["query"]), expected[1], atol=1e-4)


def test_bad_input():
    noisy = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5), layers.Dense(3)])
    frozen = dense()
    frozen.trainable = False
    for network, message in (
        (keras.Sequential([layers.Dense(3)], name="open"), "received 'open' without input shape"),
        (frozen, "without trainable weights"),
        (noisy, "without layers that draw random numbers, such as Dropout"),
    ):
        for make in (kt.models.MAML, kt.models.Reptile, functools.partial(kt.models.ANIL, dense())):
            with pytest.raises(ValueError, match=message):
                make(network)
    with pytest.raises(ValueError, match="`steps` to be an int of at least 0; received -1"):
        kt.models.MAML(dense(), steps=-1)
    with pytest.raises(ValueError, match="`test_steps` to be an int of at least 0; received 2.5"):
        kt.models.Reptile(dense(), test_steps=2.5)
    with pytest.raises(ValueError, match="`rate` to be a finite number above 0; received 0"):
        kt.models.MAML(dense(), rate=0)
    with pytest.raises(ValueError, match="`rate` to be a finite number above 0; received -1"):
        kt.models.ANIL(dense(), dense(), rate=-1)
    with pytest.raises(ValueError, match="`batch_size` to be an int of at least 1; received 0"):
        kt.models.Reptile(dense(), batch_size=0)
    with pytest.raises(ValueError, match='"support", "batch" or "moving"; received .none.'):
        kt.models.MAML(dense(), statistics="none")
    with pytest.raises(ValueError, match="to be called with a `loss`"):
        kt.models.MAML(dense()).adapt(np.zeros((3, 8), "float32"), np.arange(3))

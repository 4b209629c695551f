import keras
import numpy as np
import pytest
from keras import ops

from keras_transfer.networks import (
    all_rows,
    check_features,
    check_network,
    follow,
    follower,
    frozen,
    run_pair,
)

first = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
second = np.random.default_rng(1).normal(2.0, 3.0, size=(9, 3)).astype("float32")


def close(a, b):
    keras.tree.assert_same_structure(a, b)
    for x, y in zip(keras.tree.flatten(a), keras.tree.flatten(b)):
        np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_joint_and_separate_are_equal_without_batch_normalization(training):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.LayerNormalization()])
    expected = (network(first), network(second))
    for batch_norm in ("joint", "separate"):
        close(run_pair(network, first, second, batch_norm, training), expected)


@pytest.mark.parametrize("batch_norm", ["joint", "separate"])
def test_nested_inputs_and_outputs(batch_norm):
    def network(x, training):
        left, (right,) = x["left"], x["rest"]
        return {"sum": left + right, "parts": [left * 2, (right, ops.sum(right, axis=1))]}

    def pack(x):
        return {"left": x, "rest": (x + 1,)}

    def by_hand(x):
        return {"sum": 2 * x + 1, "parts": [x * 2, (x + 1, (x + 1).sum(axis=1))]}

    close(run_pair(network, pack(first), pack(second), batch_norm), (by_hand(first), by_hand(second)))


@pytest.mark.parametrize("batch_norm", ["joint", "separate"])
def test_training_is_passed_on(batch_norm):
    def network(x, training):
        return x * (2.0 if training else 1.0)

    close(run_pair(network, first, second, batch_norm, training=True), (2 * first, 2 * second))
    close(run_pair(network, first, second, batch_norm), (first, second))


def normalized(x, over):
    return (x - over.mean(axis=0)) / over.std(axis=0)


def test_joint_batch_normalization_shares_its_statistics():
    network = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-12)
    outputs = run_pair(network, first, second, "joint", training=True)
    both = np.concatenate([first, second])
    close(outputs, (normalized(first, both), normalized(second, both)))
    np.testing.assert_allclose(network.moving_mean, 0.1 * both.mean(axis=0), atol=1e-6)


def test_separate_batch_normalization_keeps_the_domains_apart():
    network = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-12)
    outputs = run_pair(network, first, second, "separate", training=True)
    close(outputs, (normalized(first, first), normalized(second, second)))
    moved_twice = 0.9 * 0.1 * first.mean(axis=0) + 0.1 * second.mean(axis=0)
    np.testing.assert_allclose(network.moving_mean, moved_twice, atol=1e-6)


@pytest.mark.parametrize("wrong", ["both", None, True])
def test_unknown_batch_norm(wrong):
    with pytest.raises(ValueError, match=f'"joint" or "separate"; received {wrong!r}'):
        run_pair(keras.layers.Identity(), first, second, wrong)


def test_features():
    encoder = keras.layers.Identity(name="my_encoder")
    assert check_features(first, encoder) is first
    for shape in ((5,), (5, 3, 2), (5, 3, 2, 1)):
        with pytest.raises(ValueError) as error:
            check_features(np.zeros(shape), encoder)
        expected = (
            f"Expected the encoder 'my_encoder' to return features of shape (batch, dim); received shape {shape}."
        )
        assert expected in str(error.value)
    with pytest.raises(ValueError, match=r"received shape \{'a': \(5, 3\)\}"):
        check_features({"a": first}, encoder)


def test_all_rows_of_one_replica():
    np.testing.assert_array_equal(all_rows(ops.convert_to_tensor(first)), first)


def test_networks_of_keras_3_pass():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for argument in (network, {"a": network, "b": [network, None]}, 0.5, "mean", None, keras.losses.mean_squared_error):
        check_network(argument, "encoder")


@pytest.mark.filterwarnings("ignore")  # tf_keras and tensorflow_hub have their own
def test_a_tf_keras_network():
    tf_keras = pytest.importorskip("tf_keras")

    class Own(tf_keras.Model):
        pass

    layer = tf_keras.layers.Dense(2)
    for network in (layer, tf_keras.Sequential([layer]), Own(), {"a": [layer]}):
        with pytest.raises(
            TypeError, match="Expected `towers` to be a Keras 3 network; received .*kt.backbones.from_hub"
        ):
            check_network(network, "towers")


@pytest.mark.filterwarnings("ignore")
def test_a_hub_layer(data_folder):
    hub = pytest.importorskip("tensorflow_hub")
    folder = data_folder / "hub" / "mobilenet_v1_pw12_feature_vector"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: it holds a TF Hub module")
    with pytest.raises(TypeError, match="`encoder` to be a Keras 3 network; received .*KerasLayer.*from_hub"):
        check_network(hub.KerasLayer(str(folder)), "encoder")


# Followers, and networks held still.


def noisy():
    """A network with all that a follower must not do: train, draw, average statistics blindly."""
    layers = keras.layers
    parts = [layers.Dense(4), layers.BatchNormalization(momentum=0.5), layers.Dropout(0.5), layers.GaussianNoise(0.9)]
    return keras.Sequential(
        [keras.Input((3,)), *parts, keras.Sequential([keras.Input((4,)), layers.AlphaDropout(0.5)])]
    )


def test_a_follower_is_silent_and_does_not_train():
    network = noisy()
    teacher = follower(network)
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    np.testing.assert_array_equal(teacher(x, training=True), teacher(x, training=True))
    assert not teacher.trainable_variables and teacher.trainable
    normalised = keras.ops.convert_to_numpy(teacher(x, training=True))
    np.testing.assert_allclose(normalised.mean(0), 0, atol=1e-5)  # by the batch: it is not in inference mode
    assert network.trainable_variables and network.layers[2].rate == 0.5


@pytest.mark.parametrize("statistics", ["own", "copied"])
def test_a_follower_follows(statistics):
    network = noisy()
    teacher = follower(network)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.uniform(1, 2, weight.shape))
    before = [keras.ops.convert_to_numpy(w) for w in teacher.weights]
    follow(teacher, network, 0.75, statistics)
    trains = {id(w) for w in network.trainable_weights}
    for old, weight, new in zip(before, network.weights, teacher.weights):
        value = keras.ops.convert_to_numpy(weight)
        expected = 0.75 * old + 0.25 * value if id(weight) in trains else value if statistics == "copied" else old
        np.testing.assert_allclose(new, expected, rtol=1e-6)


def test_unknown_statistics_of_a_follower():
    network = noisy()
    with pytest.raises(ValueError, match='`statistics` to be "own" or "copied"; received \'mean\''):
        follow(follower(network), network, 0.9, "mean")
    with pytest.raises(ValueError, match="Expected a built network to copy"):
        follower(keras.Sequential([keras.layers.Dense(2)]))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a tape tells both gradients")
def test_frozen_lets_gradients_reach_the_input_alone():
    import tensorflow as tf

    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    x = tf.Variable(np.ones((2, 3), "float32"))
    with tf.GradientTape(persistent=True) as tape:
        free, held = network(x), frozen(network, x)
    np.testing.assert_array_equal(free, held)
    np.testing.assert_array_equal(tape.gradient(held, x), tape.gradient(free, x))
    weights = [w.value for w in network.weights]
    assert all(g is None for g in tape.gradient(held, weights)) and None not in tape.gradient(free, weights)

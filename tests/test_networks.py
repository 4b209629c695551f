import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_transfer as kt
from keras_transfer.networks import (
    all_rows,
    check_features,
    check_logits,
    check_loss,
    check_network,
    final_activation,
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


# Probabilities where logits are meant.

parts = keras.layers
x_in = keras.Input((3,))
logits = parts.Dense(4, name="logits")(x_in)


def sequential(*layers):
    return keras.Sequential([keras.Input((3,)), *layers])


def nested(layer):
    """The layer deep inside: Sequential in functional in Sequential, which ends in a Dropout."""
    inner = keras.Input((4,))
    middle = keras.Model(inner, keras.Sequential([keras.Input((4,)), layer])(inner))
    return sequential(parts.Dense(4), middle, parts.Dropout(0.5))


def with_lora():
    network = sequential(parts.Dense(4), parts.Dense(4, "softmax", name="last"))
    kt.finetuning.lora.attach(network, rank=1)
    return network


class Method(kt.TransferModel):
    def __init__(self, head):
        super().__init__({"task": 1.0})
        self.head = head


ENDS = {
    "a layer": lambda: parts.Dense(4, "softmax", name="last"),
    "outermost": lambda: sequential(parts.Dense(4, "softmax", name="last")),
    "one logit": lambda: sequential(parts.Dense(1, "sigmoid", name="last")),
    "not built": lambda: keras.Sequential([parts.Dense(4), parts.Softmax(name="last")]),
    "Softmax": lambda: sequential(parts.Dense(4), parts.Softmax(name="last")),
    "Activation": lambda: sequential(parts.Dense(4), parts.Activation("sigmoid", name="last")),
    "float32 behind": lambda: sequential(
        parts.Dense(4, "softmax", name="last"), parts.Activation("linear", dtype="float32")
    ),
    "an object": lambda: sequential(parts.Dense(4, activation=parts.Softmax(), name="last")),
    "a function": lambda: sequential(parts.Dense(4, ops.hard_sigmoid, name="last")),
    "a partial": lambda: sequential(parts.Dense(4, functools.partial(ops.softmax, axis=-1), name="last")),
    "their own": lambda: sequential(parts.Dense(4, lambda x: 0.5 + ops.tanh(x / 2) / 2, name="last")),
    "a Lambda": lambda: sequential(parts.Dense(4), parts.Lambda(lambda x: ops.softmax(x), name="last")),
    "log_sigmoid": lambda: sequential(parts.Dense(4, "log_sigmoid", name="last")),
    "nested": lambda: nested(parts.Dense(4, "softmax", name="last")),
    "nested Softmax": lambda: nested(parts.Softmax(name="last")),
    "a functional output": lambda: keras.Model(x_in, parts.Dense(2, "sigmoid", name="last")(logits)),
    "an operation": lambda: keras.Model(x_in, ops.reshape(ops.softmax(logits), (-1, 2, 2))),
    "one of several outputs": lambda: keras.Model(x_in, {"a": logits, "b": parts.Softmax(name="last")(logits)}),
    "not the layer listed last": lambda: keras.Model(
        x_in, [parts.Softmax(name="last")(logits), parts.Dense(5)(parts.Dense(6)(logits))][:1]
    ),
    "the mean of several": lambda: keras.Model(
        x_in, parts.Average()([parts.Dense(4, "softmax", name="last")(x_in), parts.Softmax()(logits)])
    ),
    "wrapped": lambda: keras.Sequential(
        [keras.Input((5, 3)), parts.TimeDistributed(parts.Dense(4, "softmax", name="last"))]
    ),
    "spectral": lambda: sequential(parts.SpectralNormalization(parts.Dense(4, "sigmoid", name="last"))),
    "maps that are pooled": lambda: keras.Sequential(
        [keras.Input((8, 8, 1)), parts.Conv2D(4, 3, activation="softmax", name="last"), parts.GlobalAveragePooling2D()]
    ),
    "with LoRA": with_lora,
    "a method": lambda: Method(sequential(parts.Dense(4, "softmax", name="last"))),
}


@pytest.mark.parametrize("case", ENDS)
def test_probabilities_are_found_however_a_network_ends(case):
    network = ENDS[case]()
    layer = final_activation(network)
    assert layer is not None and (layer.name == "last" or case == "an operation")
    with pytest.raises(ValueError) as error:
        check_logits({"a": None, "b": [network]}, "teacher")
    text = str(error.value)
    assert text.startswith("Expected `teacher` to return logits") and f"layer {layer.name!r}" in text
    assert repr(network.name) in text and "set its `activation` to None" in text


@pytest.mark.parametrize(
    "network",
    [
        sequential(parts.Dense(4)),
        sequential(parts.Dense(4, "softmax"), parts.Dense(4)),
        sequential(parts.Dense(4), parts.Activation("linear", dtype="float32")),
        sequential(parts.Dense(4, "tanh")),
        sequential(parts.Dense(4, "relu")),
        sequential(parts.Dense(4, "log_softmax")),  # a logit of its probabilities
        sequential(parts.Dense(4, lambda x: 5 * ops.sigmoid(x))),
        sequential(parts.Dense(4, "sigmoid"), parts.Rescaling(4.0, -2.0)),
        sequential(parts.Dense(4, "sigmoid"), parts.BatchNormalization()),
        sequential(parts.Lambda(lambda x: ops.reshape(x, (-1, 3)))),
        sequential(parts.Dropout(0.5)),
        keras.Sequential([parts.Dense(4)]),
        keras.Model(x_in, logits),
        keras.Model(x_in, ops.log(ops.softmax(logits))),
        keras.Model(x_in, parts.Average()([parts.Softmax()(logits), logits])),
        keras.Model(x_in, parts.Dense(4)(parts.Multiply()([parts.Dense(4, "sigmoid")(x_in), logits]))),
        parts.Dense(4),
        Method(sequential(parts.Dense(4))),
        Method(None),
        None,
        0.5,
        keras.losses.mean_squared_error,
    ],
)
def test_logits_pass(network):
    assert final_activation(network) is None
    check_logits(network, "teacher")


def test_taking_the_activation_away_helps():
    """What the error says: the weights stay, and the network returns the logits of its probabilities."""
    network = sequential(parts.Dense(4, "softmax", name="last"))
    before = network(first)
    final_activation(network).activation = None
    check_logits(network, "teacher")
    close(ops.softmax(network(first)), before)


def test_a_loss_from_logits_behind_a_softmax():
    softmax, linear = sequential(parts.Dense(4, "softmax", name="last")), sequential(parts.Dense(4))
    says = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for loss, network in (
        (says, linear),
        (says, None),
        (keras.losses.SparseCategoricalCrossentropy(), softmax),
        ("sparse_categorical_crossentropy", softmax),
        (None, softmax),
        ({"a": says}, {"a": linear, "b": softmax}),
    ):
        check_loss(loss, network)
    with pytest.raises(
        ValueError, match="`head` to return logits, as the compiled loss .* layer 'last' .*from_logits=F"
    ):
        check_loss(says, softmax)
    with pytest.raises(ValueError, match=r"`heads\['b'\]` to return logits"):
        check_loss(says, {"a": linear, "b": softmax}, "heads")


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

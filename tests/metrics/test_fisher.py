"""The Fisher information against a loop over examples by automatic differentiation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_transfer as kt


def sequential(shape, *parts, dtype="float32"):
    network = keras.Sequential([keras.Input(shape, dtype=dtype), *parts])
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([w + rng.uniform(0.1, 0.5, w.shape) for w in layer.get_weights()])
    return network


def shared():
    inputs, layer = keras.Input((5,)), layers.Dense(5, activation="tanh")
    return keras.Model(inputs, layers.Dense(4)(layer(layer(inputs))))


NETWORKS = {
    "dense": lambda: sequential((7,), layers.Dense(9, activation="relu"), layers.Dense(4)),
    "convolutions": lambda: sequential(
        (9, 8, 3),
        layers.Conv2D(5, 3, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        layers.ReLU(),
        layers.Conv2D(6, 2, use_bias=False),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4),
    ),
    "frozen BatchNormalization": lambda: sequential(
        (9, 2),
        layers.Conv1D(5, 3, dilation_rate=2, padding="same", activation="tanh"),
        layers.BatchNormalization(trainable=False),
        layers.Dense(3),  # of each place
        layers.Flatten(),
        layers.Dense(4, activation="linear"),
    ),
    "embedding": lambda: sequential(
        (6,),
        layers.Embedding(11, 5),
        layers.LayerNormalization(),
        layers.GlobalAveragePooling1D(),
        layers.Dense(4),
        dtype="int32",
    ),
    "one layer at two places": shared,
    "groups": lambda: sequential((4, 4, 4), layers.Conv2D(4, 3, groups=2), layers.Flatten(), layers.Dense(4)),
}


def rows(network, number=13):
    rng = np.random.default_rng(1)
    shape = (number, *network.input_shape[1:])
    whole = "int" in str(network.inputs[0].dtype)
    x = rng.integers(0, 11, shape).astype("int32") if whole else rng.normal(size=shape).astype("float32")
    return x, np.arange(number) % 4


def one_by_one(network, x, y, kind):
    """The sum over classes, weighted by their probability, of the squared gradients of each example by itself."""
    totals = [0.0] * len(network.trainable_variables)
    for row, label in zip(x, y):
        with tf.GradientTape(persistent=True) as tape:
            log_p = tf.unstack(tf.nn.log_softmax(network(row[None], training=False))[0])
        for c, said in enumerate(log_p):
            weight = np.exp(float(said)) if kind == "exact" else float(c == label)
            if weight:
                sources = [v.value for v in network.trainable_variables]
                gradients = tape.gradient(said, sources, unconnected_gradients="zero")
                found = [np.array(tf.convert_to_tensor(g), "float64") for g in gradients]
                totals = [total + weight * g**2 / len(x) for total, g in zip(totals, found)]
    return totals


@pytest.mark.parametrize("kind", ["exact", "empirical"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_that_of_a_loop_over_examples(name, kind):
    keras.utils.set_random_seed(0)
    network = NETWORKS[name]()
    x, y = rows(network)
    before = [np.array(v) for v in network.variables]
    found = kt.metrics.fisher(network, x, y, kind, batch_size=5)
    for one, expected in zip(found, one_by_one(network, x, y, kind), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    for a, b in zip(before, network.variables):
        np.testing.assert_array_equal(a, b)  # nothing moved, statistics neither
    assert network.layers[-1].activation is keras.activations.linear and "call" not in vars(network.layers[-1])


def test_batches_and_datasets_change_nothing():
    network = NETWORKS["dense"]()
    x, y = rows(network)
    expected = kt.metrics.fisher(network, x, y, "empirical")
    batched = tf.data.Dataset.from_tensor_slices((x, y)).batch(6)
    for found in (
        kt.metrics.fisher(network, x, y, "empirical", batch_size=4),
        kt.metrics.fisher(network, batched, kind="empirical", batch_size=4),
    ):
        for a, b in zip(found, expected):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_drawn_labels_come_near_the_exact_one():
    network = NETWORKS["dense"]()
    x, _ = rows(network, 8)
    many = np.repeat(x, 1000, axis=0)
    drawn, exact = kt.metrics.fisher(network, many, kind="sampled", batch_size=1000), kt.metrics.fisher(network, x)
    for a, b in zip(drawn, exact):
        assert np.abs(a - b).sum() < 0.1 * np.abs(b).sum()
    again = kt.metrics.fisher(network, many, kind="sampled", batch_size=1000)
    np.testing.assert_array_equal(again[0], drawn[0])


def test_the_square_of_the_batch_is_another_number():
    """What popular implementations take: much smaller, since gradients of examples cancel."""
    network = NETWORKS["dense"]()
    x, y = rows(network, 60)
    with tf.GradientTape() as tape:
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, network(x), from_logits=True))
    squares = [np.array(g) ** 2 for g in tape.gradient(loss, [v.value for v in network.trainable_variables])]
    found = kt.metrics.fisher(network, x, y, "empirical")
    assert sum(s.sum() for s in squares) < 0.2 * sum(f.sum() for f in found)


def test_among_some_classes():
    network = NETWORKS["dense"]()
    x, _ = rows(network)
    few = keras.Sequential([network, layers.Lambda(lambda z: keras.ops.take(z, [1, 3], axis=-1))])
    few.build((None, 7))
    for a, b in zip(kt.metrics.fisher(network, x, classes=[1, 3]), kt.metrics.fisher(few, x)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"kind": "true"}, '"exact", "sampled" or "empirical"'),
        ({"kind": "empirical", "y": None}, "labels `y` for the empirical"),
        ({"kind": "empirical", "y": np.full(13, 7)}, r"labels among the classes \[0, 1, 2, 3\]; received \[7\]"),
        ({"kind": "empirical", "classes": [0, 1]}, r"among the classes \[0, 1\]; received \[2, 3\]"),
        ({"x": np.zeros((0, 7), "float32")}, "at least one row of `x`"),
    ],
)
def test_what_is_wrong_is_told(arguments, said):
    network = NETWORKS["dense"]()
    x, y = rows(network)
    with pytest.raises(ValueError, match=said):
        kt.metrics.fisher(**{"network": network, "x": x, "y": y, **arguments})


def test_half_precision_is_refused():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = NETWORKS["dense"]()
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="compute in float32"):
        kt.metrics.fisher(network, rows(network)[0])


def test_weights_have_to_train():
    network = NETWORKS["dense"]()
    network.trainable = False
    with pytest.raises(ValueError, match="all are frozen"):
        kt.metrics.fisher(network, rows(network)[0])

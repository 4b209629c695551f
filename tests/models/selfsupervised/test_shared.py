import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import encoder, projector, unlabelled, views

tf = pytest.importorskip("tensorflow")


def step(chunk_size, method=kt.models.SimCLR, labels=None, networks=None):
    """The loss and the weights after one step of plain SGD."""
    keras.utils.set_random_seed(0)
    model = method(*(networks or (encoder(), projector())), chunk_size=chunk_size)
    unlabelled(model, keras.optimizers.SGD(1.0), run_eagerly=chunk_size is None)  # loops are traced
    loss = model.train_on_batch(views(24)[0][0], labels)
    return loss, model.get_weights()


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 24])
def test_gradient_is_that_of_the_whole_batch(chunk_size):
    whole, parts = step(None), step(chunk_size)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-6)
    for a, b in zip(parts[1], whole[1]):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_gradient_with_labels():
    labels = np.arange(24) % 3
    for a, b in zip(step(6, kt.models.SupCon, labels)[1], step(None, kt.models.SupCon, labels)[1]):
        np.testing.assert_allclose(a, b, atol=1e-6)


def networks_with(*layers):
    """An encoder that ends in these layers, and a projector."""
    return keras.Sequential([encoder(), *layers]), projector()


def test_batch_norm_normalises_by_chunk_and_moves_once_for_each():
    """After one step from chunks the moving mean is that of one pass over each chunk."""
    networks = networks_with(keras.layers.BatchNormalization())
    keras.utils.set_random_seed(0)
    model = unlabelled(kt.models.SimCLR(*networks, chunk_size=12), keras.optimizers.SGD(0.0))
    x = views(24)[0][0]
    inner, layer = networks[0].layers[:2]
    mean = np.zeros(16)
    for rows in (slice(0, 12), slice(12, 24)):
        both = np.concatenate([x["view_1"][rows], x["view_2"][rows]])
        mean = 0.99 * mean + 0.01 * np.array(inner(both)).mean(0)
    model.train_on_batch(x)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4)


def test_dropout_draws_anew_in_each_step():
    """With the rate 0 nothing moves but the seed."""
    keras.utils.set_random_seed(0)
    networks = networks_with(keras.layers.Dropout(0.5))
    model = unlabelled(kt.models.SimCLR(*networks, chunk_size=6), keras.optimizers.SGD(0.0))
    losses = [float(model.train_on_batch(views(24)[0][0], return_dict=True)["contrast_term"]) for _ in range(3)]
    assert np.isfinite(losses).all() and len(set(losses)) == 3


def test_gradient_passes_through_the_very_dropout_of_the_loss():
    """The slope of the loss along the gradient is the gradient's square, if both passes see the same draws."""
    keras.utils.set_random_seed(0)
    networks = networks_with(keras.layers.Dropout(0.5))
    model = unlabelled(kt.models.SimCLR(*networks, chunk_size=4), keras.optimizers.SGD(1.0))
    x, before = views(12)[0][0], model.get_weights()
    (seed,) = (v for v in networks[0].non_trainable_variables if "seed" in v.path)
    start = keras.ops.convert_to_numpy(seed).copy()
    model.train_on_batch(x)
    trains = [v.trainable for v in model.weights]
    gradients = [a - b for a, b in zip(before, model.get_weights())]
    model.optimizer.learning_rate = 0.0
    losses = []
    for share in (-0.005, 0.005):
        model.set_weights([w + share * g if t else w for w, g, t in zip(before, gradients, trains)])
        seed.assign(start)
        losses.append(float(model.train_on_batch(x, return_dict=True)["loss"]))
    expected = sum(np.sum(np.square(g)) for g, t in zip(gradients, trains) if t)
    np.testing.assert_allclose((losses[1] - losses[0]) / 0.01, expected, rtol=0.02)


def test_graph_does_not_grow_with_the_batch():
    sizes = []
    for rows in (24, 96):
        keras.utils.set_random_seed(0)
        model = unlabelled(kt.models.SimCLR(encoder(), projector(), chunk_size=12))
        graph = (
            tf.function(lambda x, model=model: model.train_step((x,))).get_concrete_function(views(rows)[0][0]).graph
        )
        sizes.append(len(graph.get_operations()))
    assert sizes[0] == sizes[1]


def test_eager():
    keras.utils.set_random_seed(0)
    model = kt.models.SimCLR(encoder(), projector(), chunk_size=6)
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    model.train_on_batch(views(24)[0][0])
    for a, b in zip(model.get_weights(), step(6)[1]):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_batches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="divides into chunks of 7 rows; received 24 rows"):
        step(7)

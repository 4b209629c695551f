import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt


def networks(batch_norm=False):
    dense = keras.layers.Dense
    normalization = [keras.layers.BatchNormalization()] if batch_norm else []
    encoder = keras.Sequential([keras.Input((8,)), dense(6, name="first"), *normalization, dense(4, name="second")])
    return encoder, keras.Sequential([keras.Input((4,)), dense(3)])


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(12, 8)).astype("float32"), rng.integers(0, 3, 12)


def compiled(model, optimizer="sgd", run_eagerly=True):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=run_eagerly)
    return model


def kernels(network):
    return {w.path: w.numpy().astype("float64") for w in network.weights if w.path.endswith("kernel")}


def test_terms_by_hand():
    encoder, head = networks(batch_norm=True)
    start = kernels(encoder)
    model = compiled(kt.models.L2SP(encoder, head, start_weight=0.3, head_weight=0.7), keras.optimizers.SGD(0.0))
    rng = np.random.default_rng(1)
    for network in (encoder, head):
        network.set_weights([w + rng.random(w.shape) for w in network.get_weights()])  # biases and scales move too
    x, y = batch()
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    logits = model.predict(x, verbose=0).astype("float64")
    task = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), y])
    pull = sum(np.sum((w - start[path]) ** 2) for path, w in kernels(encoder).items()) / 2
    decay = sum(np.sum(w**2) for w in kernels(head).values()) / 2
    np.testing.assert_allclose([logs[f"{n}_term"] for n in ("task", "start", "head")], [task, pull, decay], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], task + 0.3 * pull + 0.7 * decay, rtol=1e-5)
    assert pull > 1


def test_what_is_free():
    """Where the task has no gradient, kernels return to their start; biases and BatchNormalization stay as they are."""
    encoder, head = networks(batch_norm=True)
    start = kernels(encoder)
    model = kt.models.L2SP(encoder, head, start_weight=1.0)
    model.compile(keras.optimizers.SGD(0.5), lambda y, y_pred: 0.0 * y_pred[:, 0], run_eagerly=True)
    encoder.set_weights([w + 1.0 for w in encoder.get_weights()])
    before = {w.path: w.numpy() for w in encoder.trainable_weights}
    for _ in range(2):
        model.train_on_batch(*batch())
    for w in encoder.trainable_weights:
        # A step of rate 1/2 halves the distance of 1; after two it is 1/4.
        expected = start[w.path] + 0.25 if w.path in start else before[w.path]
        np.testing.assert_allclose(w.numpy(), expected, atol=1e-6, err_msg=w.path)


def test_frozen_weights_add_nothing_until_thawed():
    encoder, head = networks()
    first = encoder.get_layer("first")
    first.trainable = False
    model = compiled(kt.models.L2SP(encoder, head), keras.optimizers.SGD(0.0))
    first.kernel.assign_add(np.full((8, 6), 0.5))
    assert model.evaluate(*batch(), verbose=0, return_dict=True)["start_term"] == 0
    first.trainable = True
    compiled(model, keras.optimizers.SGD(0.0))
    np.testing.assert_allclose(model.evaluate(*batch(), verbose=0, return_dict=True)["start_term"], 48 * 0.25 / 2)


@pytest.mark.parametrize("freeze", [False, True])
def test_loading_restores_the_original_start(tmp_path, freeze):
    encoder, head = networks()
    start = [w.numpy() for w in encoder.trainable_weights if len(w.shape) == 2]
    model = compiled(kt.models.L2SP(encoder, head), keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(*batch(), epochs=3, verbose=0)
    encoder.get_layer("first").trainable = not freeze  # after construction: not the weights that were counted then
    if freeze:
        compiled(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for original, anchor, kernel in zip(start, again.anchors, kernels(again.encoder).values(), strict=True):
        np.testing.assert_array_equal(anchor, original)
        assert np.abs(kernel - original).max() > 1e-3
    logs = [m.fit(*batch(1), epochs=3, verbose=0, shuffle=False).history for m in (model, again)]
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-6)


def test_encoder_that_is_not_built():
    encoder = keras.Sequential([keras.layers.Dense(4)], name="my_encoder")
    with pytest.raises(ValueError, match="Expected a built encoder.*received 'my_encoder', which is not built"):
        kt.models.L2SP(encoder, networks()[1])


def test_beats_plain_fine_tuning():
    """24 target rows of 40 inputs, 4 of which matter; the encoder has learned from 2,000 source rows which ones."""
    rng = np.random.default_rng(0)
    source_head, target_head = rng.normal(size=(4, 8)), rng.normal(size=(4, 3))

    def task(rows, head, rng):
        x = rng.normal(size=(rows, 40)).astype("float32")
        return x, np.argmax(x[:, :4] @ head, axis=1)

    def fit(model, data):
        stream = tf.data.Dataset.from_tensors(data).repeat(200)
        compiled(model, keras.optimizers.Adam(0.03), run_eagerly=False).fit(stream, shuffle=False, verbose=0)

    def new_head(classes):
        return keras.Sequential([keras.Input((8,)), keras.layers.Dense(classes)])

    keras.utils.set_random_seed(0)
    pretrained = keras.Sequential([keras.Input((40,)), keras.layers.Dense(8, "tanh")])
    fit(keras.Sequential([pretrained, new_head(8)]), task(2000, source_head, rng))
    x_test, y_test = task(2000, target_head, rng)
    for seed in range(3):
        train, accuracy = task(24, target_head, np.random.default_rng(seed)), []
        for method in (lambda *networks: keras.Sequential(networks), kt.models.L2SP):
            keras.utils.set_random_seed(seed)
            encoder = keras.models.clone_model(pretrained)
            encoder.set_weights(pretrained.get_weights())
            model = method(encoder, new_head(3))
            fit(model, train)
            accuracy.append(np.mean(np.argmax(model(x_test), axis=1) == y_test))
        assert accuracy[1] > accuracy[0] + 0.05

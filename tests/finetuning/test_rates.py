import json

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.finetuning.rates import LayerwiseOptimizer, discriminative_rates
from tests.contract import compiled

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype("float32")
Y = RNG.normal(size=(24, 2)).astype("float32")
RATES = {".*first/.*": 0.1, ".*second/.*": 0.5}


def network():
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense
    return keras.Sequential(
        [keras.Input((5,)), dense(4, "tanh", name="first"), dense(3, "tanh", name="second"), dense(2, name="last")],
        name="net",
    )


def trained(optimizer, epochs=3, **fit):
    model = network()
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **fit)
    return model


def by_hand(optimizers, steps):
    """Trains with one optimizer for each layer, on gradients that plain SGD with rate 1 reveals."""
    model, probe = network(), network()
    probe.compile(keras.optimizers.SGD(1.0), "mse")
    for step in range(steps):
        batch = slice(8 * (step % 3), 8 * (step % 3) + 8)
        probe.set_weights(model.get_weights())
        probe.train_on_batch(X[batch], Y[batch])
        gradients = [before - after for before, after in zip(model.get_weights(), probe.get_weights())]
        for index, optimizer in enumerate(optimizers):
            pair = slice(2 * index, 2 * index + 2)
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients[pair]], model.trainable_variables[pair])
    return model


def same(first, second, atol=0.0):
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: keras.optimizers.Adam(rate),
        lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
        lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.1, clipnorm=0.05),
    ],
    ids=["adam", "momentum", "adamw_clipnorm"],
)
def test_equals_separate_optimizers(make):
    expected = by_hand([make(0.01), make(0.05), make(0.1)], steps=9)
    same(trained(LayerwiseOptimizer(make(0.1), RATES)), expected, atol=2e-5)


def test_without_rates_equals_the_plain_optimizer():
    same(trained(LayerwiseOptimizer("adam", {})), trained("adam"))


def test_schedule():
    def schedule(rate):
        return keras.optimizers.schedules.ExponentialDecay(rate, 2, 0.5)

    expected = by_hand([keras.optimizers.SGD(schedule(rate)) for rate in (0.01, 0.05, 0.1)], steps=9)
    model = trained(LayerwiseOptimizer(keras.optimizers.SGD(schedule(0.1)), RATES))
    same(model, expected, atol=1e-6)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 * 0.5**4.5)
    with pytest.raises(TypeError, match="not settable"):
        model.optimizer.learning_rate = 0.1


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Lamb", "Lion", "Muon", "Adafactor", "Nadam"])
def test_a_group_at_zero_stays_bit_identical(name):
    optimizer = getattr(keras.optimizers, name)(0.1)
    optimizer.weight_decay = 0.1
    model = trained(LayerwiseOptimizer(optimizer, {".*first/.*": 0.0}))
    equal = [np.array_equal(a, b) for a, b in zip(network().get_weights(), model.get_weights())]
    assert equal == [True, True, False, False, False, False]


def test_multipliers_change_without_a_new_trace():
    model, traces = network(), []

    def loss(y, y_pred):
        traces.append(0)
        return keras.losses.mean_squared_error(y, y_pred)

    model.compile(LayerwiseOptimizer(keras.optimizers.SGD(0.1), RATES), loss)
    model.fit(X, Y, batch_size=8, verbose=0)
    count, before = len(traces), model.get_weights()
    model.optimizer.multipliers[".*second/.*"].assign(0.0)
    model.fit(X, Y, batch_size=8, verbose=0)
    assert len(traces) == count
    equal = [np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
    assert equal == [False, False, True, True, False, False]


def test_learning_rate_scheduler():
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 if epoch == 0 else rate / 2)
    model = trained(LayerwiseOptimizer(keras.optimizers.SGD(1.0), {".*first/.*": 0.0}), callbacks=[scheduler])
    assert model.history.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.025])
    plain = network()
    plain.get_layer("first").trainable = False
    plain.compile(keras.optimizers.SGD(1.0), "mse")
    plain.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[scheduler])
    same(model, plain, atol=1e-7)


def test_reduce_on_plateau_and_tensorboard(tmp_path):
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100.0)
    board = keras.callbacks.TensorBoard(tmp_path)
    model = trained(LayerwiseOptimizer(keras.optimizers.SGD(0.1), RATES), callbacks=[plateau, board])
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.025)
    assert list(model.optimizer.multipliers[".*first/.*"].numpy().ravel()) == pytest.approx([0.1])
    assert any(b"epoch_learning_rate" in path.read_bytes() for path in tmp_path.rglob("events*"))


def nested():
    """A model whose variables have other paths after loading."""
    keras.utils.set_random_seed(1)
    encoder = keras.Sequential([keras.layers.Dense(4, "tanh")], name="encoder")
    head = keras.Sequential([keras.layers.Dense(3)], name="head")
    model = kt.models.DAN(encoder, head)
    model.build((None, 5))
    return model


@pytest.mark.parametrize("half", [False, True], ids=["float32", "mixed_float16"])
def test_training_goes_on_exactly_after_loading(tmp_path, half):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if half else "float32")
    try:
        rates = {".*encoder/.*": 0.1, ".*head/.*": 1.0}
        model = compiled(nested(), LayerwiseOptimizer(keras.optimizers.Adam(0.01), rates))
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == half
        x, y = {"source": X, "target": X + 1}, np.arange(24) % 3
        model.train_on_batch(x, y)
        inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        inner.multipliers[".*head/.*"].assign(0.5)
        model.optimizer.learning_rate = 0.02
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert not any("encoder" in v.path for v in loaded.trainable_variables)  # what makes this hard
        for _ in range(2):
            model.train_on_batch(x, y)
            loaded.train_on_batch(x, y)
        same(loaded, model)
        again = getattr(loaded.optimizer, "inner_optimizer", loaded.optimizer)
        assert float(again.multipliers[".*head/.*"].numpy()) == 0.5
        assert again.rates == rates
        assert float(loaded.optimizer.learning_rate.numpy()) == pytest.approx(0.02)
        assert loaded.optimizer.iterations.numpy() == 3
    finally:
        keras.config.set_dtype_policy(policy)


def test_weights_file_resumes(tmp_path):
    model = trained(LayerwiseOptimizer(keras.optimizers.Adam(0.01), RATES))
    model.save_weights(tmp_path / "model.weights.h5")
    again = network()
    again.compile(LayerwiseOptimizer(keras.optimizers.Adam(0.01), RATES), "mse")
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "model.weights.h5")
    for one in (model, again):
        one.fit(X, Y, shuffle=False, verbose=0)
    same(again, model)


def test_config_is_json_and_keeps_the_schedule():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    optimizer = LayerwiseOptimizer(keras.optimizers.SGD(schedule, momentum=0.9), RATES)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.rates == RATES
    assert float(again.learning_rate) == pytest.approx(0.1)
    same(trained(again), trained(optimizer))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports need TensorFlow")
@pytest.mark.parametrize("rate", [0.1, keras.optimizers.schedules.CosineDecay(0.1, 10)], ids=["float", "schedule"])
def test_a_trained_model_can_be_exported(rate, tmp_path):
    model = trained(LayerwiseOptimizer(keras.optimizers.Adam(rate), RATES), epochs=1)
    version = kt.export(model, tmp_path, X, verify=False)
    kt.serving.verify(version, model, X[:2])


def test_exclude_from_weight_decay():
    optimizer = LayerwiseOptimizer(keras.optimizers.SGD(0.1, weight_decay=0.5), RATES)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    plain = keras.optimizers.SGD(0.1, weight_decay=0.5)
    model = network()
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
    same(model, network())  # biases are zero
    other = network()
    plain.apply([keras.ops.zeros(v.shape) for v in other.trainable_variables], other.trainable_variables)
    assert not np.array_equal(other.get_weights()[0], network().get_weights()[0])


def test_discriminative_rates():
    rates = discriminative_rates(["a", ["b", "c"], "d"])
    assert rates == pytest.approx({"a": 1 / 2.6**2, "b": 1 / 2.6, "c": 1 / 2.6, "d": 1.0})
    with pytest.raises(ValueError, match=r"`decay` in \(0, 1\]; received 2"):
        discriminative_rates(["a"], decay=2)


@pytest.mark.parametrize(
    "rates, message",
    [
        ({"first": 0.1}, r"received \['first'\], which match none of 6, such as \['net/first/kernel'"),
        ({".*first/.*": 0.1, ".*kernel": 0.2}, r"received \['.*first/.*', '.*kernel'\] for 'net/first/kernel'"),
    ],
)
def test_patterns_that_do_not_fit(rates, message):
    with pytest.raises(ValueError, match=message):
        trained(LayerwiseOptimizer("sgd", rates))


def test_bad_input():
    with pytest.raises(ValueError, match="at least 0; received -1"):
        LayerwiseOptimizer("sgd", {"a": -1})
    with pytest.raises(ValueError, match="received Ftrl"):
        LayerwiseOptimizer("ftrl", {})
    with pytest.raises(ValueError, match="received LayerwiseOptimizer"):
        LayerwiseOptimizer(LayerwiseOptimizer("sgd", {}), {})
    used = keras.optimizers.SGD()
    used.build(network().trainable_variables)
    with pytest.raises(ValueError, match="received SGD that has been used"):
        LayerwiseOptimizer(used, {})

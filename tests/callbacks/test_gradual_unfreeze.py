import keras
import numpy as np
import pytest

from keras_transfer.callbacks import GradualUnfreeze
from keras_transfer.finetuning.freezing import freeze_batch_norm
from keras_transfer.finetuning.rates import LayerwiseOptimizer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype("float32")
Y = RNG.normal(size=(24, 2)).astype("float32")
RATES = {".*first.*": 0.25, ".*second.*": 0.5}
EPOCHS = {".*second.*": 1, ".*first.*": 2}


class Weights(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.seen = [self.model.get_weights()]

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.get_weights())

    def moved(self):
        """For each epoch, which variables moved, as a string of 0 and 1."""
        pairs = zip(self.seen, self.seen[1:])
        return ["".join(str(int(not np.array_equal(a, b))) for a, b in zip(*pair)) for pair in pairs]


def network(batch_norm=False):
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense
    layers = [keras.Input((5,)), dense(4, "tanh", name="first")]
    layers += [keras.layers.BatchNormalization(name="first_bn")] * batch_norm
    return keras.Sequential([*layers, dense(3, "tanh", name="second"), dense(2, name="last")])


def fit(model, callbacks, epochs=4, **kwargs):
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **kwargs)


def test_thaws_from_the_output_without_a_new_trace():
    traces, weights, model = [], Weights(), network()

    def loss(y, y_pred):
        traces.append(0)
        return keras.losses.mean_squared_error(y, y_pred)

    model.compile(LayerwiseOptimizer(keras.optimizers.AdamW(0.01), RATES), loss)
    fit(model, [], epochs=1)
    count, optimizer = len(traces), model.optimizer
    fit(model, [GradualUnfreeze(EPOCHS), weights])
    assert weights.moved() == ["000011", "001111", "111111", "111111"]
    assert len(traces) == count and model.optimizer is optimizer
    assert {key: float(value.numpy()) for key, value in optimizer.multipliers.items()} == RATES


def test_moments_go_on_while_a_group_waits():
    model = network()
    model.compile(LayerwiseOptimizer(keras.optimizers.Adam(0.01), RATES), "mse")
    fit(model, [GradualUnfreeze(EPOCHS)], epochs=1)
    moments = [v.numpy() for v in model.optimizer.variables if v.path.endswith("first_kernel_momentum")]
    assert len(moments) == 1 and np.all(moments[0] != 0)


def test_resumes_exactly(tmp_path):
    def compiled():
        model = network()
        model.compile(LayerwiseOptimizer(keras.optimizers.Adam(0.01), RATES), "mse")
        return model

    whole, part = compiled(), compiled()
    fit(whole, [GradualUnfreeze(EPOCHS)])
    fit(part, [GradualUnfreeze(EPOCHS)], epochs=1)
    part.save(tmp_path / "part.keras")
    loaded = keras.models.load_model(tmp_path / "part.keras")
    assert [float(v.numpy()) for v in loaded.optimizer.multipliers.values()] == [0.0, 0.0]
    fit(loaded, [GradualUnfreeze(EPOCHS)], initial_epoch=1)
    for a, b in zip(whole.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_of_a_waiting_group(frozen):
    model, weights = network(batch_norm=True), Weights()
    if frozen:
        freeze_batch_norm(model)
    model.compile(LayerwiseOptimizer(keras.optimizers.Adam(0.01), RATES), "mse")
    fit(model, [GradualUnfreeze({".*first.*": 1}), weights], epochs=1)
    assert weights.moved() == ["0000" + ("00" if frozen else "11") + "1111"]


def test_half_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, weights = network(), Weights()
        model.compile(LayerwiseOptimizer(keras.optimizers.Adam(0.01), RATES), "mse")
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        fit(model, [GradualUnfreeze(EPOCHS), weights])
        assert weights.moved() == ["000011", "001111", "111111", "111111"]
    finally:
        keras.config.set_dtype_policy(policy)


def test_bad_input():
    model = network()
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="compiled with a `LayerwiseOptimizer`; received Adam"):
        fit(model, [GradualUnfreeze(EPOCHS)])
    model.compile(LayerwiseOptimizer("adam", RATES), "mse")
    with pytest.raises(ValueError, match=r"rates \['.*first.*', '.*second.*'\]; received \['third'\]"):
        fit(model, [GradualUnfreeze({"third": 1})])

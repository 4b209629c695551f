import keras
import numpy as np
import pytest

import keras_transfer as kt


def step_by_hand(weights, gradients, momenta, rate, momentum, decay, trust):
    """One step of LARS in float64."""
    for i, (w, g) in enumerate(zip(weights, gradients)):
        if w.ndim > 1:
            g = g + decay * w
            g = g * (trust * np.linalg.norm(w) / np.linalg.norm(g))
        momenta[i] = momentum * momenta[i] + rate * g
        weights[i] = w - momenta[i]


def test_against_numpy():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 2)), rng.normal(size=(2,))]
    variables = [keras.Variable(w.astype("float32")) for w in weights]
    optimizer = kt.optimizers.LARS(0.5, momentum=0.8, weight_decay=0.1, trust=0.02)
    momenta = [np.zeros_like(w) for w in weights]
    for _ in range(4):
        gradients = [rng.normal(size=w.shape) for w in weights]
        optimizer.apply([keras.ops.convert_to_tensor(g.astype("float32")) for g in gradients], variables)
        step_by_hand(weights, gradients, momenta, 0.5, 0.8, 0.1, 0.02)
    for variable, expected in zip(variables, weights):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-5)


def test_scale_of_the_gradient_does_not_matter_to_matrices():
    moved = []
    for scale in (1.0, 1000.0):
        variable = keras.Variable(np.ones((2, 2), "float32"))
        optimizer = kt.optimizers.LARS(1.0, weight_decay=0.0)
        optimizer.apply([keras.ops.full((2, 2), scale)], [variable])
        moved.append(keras.ops.convert_to_numpy(variable))
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-6)
    np.testing.assert_allclose(moved[0], 1 - 0.001, rtol=1e-6)  # trust times the norm, along the unit gradient


@pytest.mark.parametrize("zero", ["weights", "gradient"])
def test_zero_norms_stay_finite(zero):
    variable = keras.Variable(np.full((2, 2), 0.0 if zero == "weights" else 1.0, "float32"))
    gradient = np.full((2, 2), 0.0 if zero == "gradient" else 1.0, "float32")
    kt.optimizers.LARS(1.0, weight_decay=0.0).apply([keras.ops.convert_to_tensor(gradient)], [variable])
    assert np.isfinite(keras.ops.convert_to_numpy(variable)).all()


def test_config_and_resuming(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    schedule = keras.optimizers.schedules.CosineDecay(0.5, 10)
    model.compile(kt.optimizers.LARS(schedule, momentum=0.7, weight_decay=0.01, trust=0.1, clipnorm=2.0), "mse")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    for m in (model, again):
        m.fit(x, y, verbose=0)
    np.testing.assert_allclose(again.get_weights()[0], model.get_weights()[0], rtol=1e-6)


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="`momentum` to be .* at least 0 and below 1; received 1.5"):
        kt.optimizers.LARS(momentum=1.5)

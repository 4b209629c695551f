import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_transfer as kt
from tests.contract import compiled, discriminator, domains, encoder, head


def values(schedule, *steps):
    return [float(ops.convert_to_numpy(schedule(step))) for step in steps]


def test_dann_ramp_in_closed_form():
    ramp = kt.schedules.DannRamp(steps=200, peak=3.0, gamma=4.0)
    expected = [3.0 * (2 / (1 + math.exp(-4.0 * step / 200)) - 1) for step in (1, 50, 199)]
    np.testing.assert_allclose(values(ramp, 1, 50, 199), expected, rtol=1e-5)


def test_dann_ramp_at_its_ends():
    ramp = kt.schedules.DannRamp(steps=100, peak=2.0)
    # 2 / (1 + exp(-10)) - 1 = tanh(5) = 0.99991
    np.testing.assert_allclose(values(ramp, 0, 100, 101, 10**6), [0.0] + [2.0 * math.tanh(5)] * 3, rtol=1e-6)


def test_linear_ramp():
    ramp = kt.schedules.LinearRamp(steps=10, start=4.0, end=1.0)
    np.testing.assert_allclose(values(ramp, 0, 1, 5, 10, 11, 10**6), [4.0, 3.7, 2.5, 1.0, 1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(values(kt.schedules.LinearRamp(4), 0, 1, 4, 5), [0.0, 0.25, 1.0, 1.0])


def test_cosine_ramp():
    """BYOL's momentum, 1 - (1 - start) (cos(pi k / K) + 1) / 2."""
    ramp = kt.schedules.CosineRamp(steps=10, start=0.9)
    expected = [1 - 0.1 * (math.cos(math.pi * step / 10) + 1) / 2 for step in (0, 1, 5, 10)]
    np.testing.assert_allclose(values(ramp, 0, 1, 5, 10, 11), [*expected, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    "schedule",
    [
        kt.schedules.CosineRamp(7, start=0.5, end=0.1),
        kt.schedules.DannRamp(7, peak=0.5, gamma=3.0),
        kt.schedules.LinearRamp(7, start=0.5, end=0.1),
    ],
)
def test_config(schedule):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert values(again, 0, 3, 9) == values(schedule, 0, 3, 9)


@pytest.mark.parametrize("ramp", [kt.schedules.CosineRamp, kt.schedules.DannRamp, kt.schedules.LinearRamp])
@pytest.mark.parametrize("steps", [0, -5])
def test_steps_are_positive(ramp, steps):
    with pytest.raises(ValueError, match=f"Expected `steps` to be a finite number above 0; received {steps}"):
        ramp(steps)


@pytest.mark.parametrize("ramp", [kt.schedules.DannRamp(10, peak=2.0), kt.schedules.LinearRamp(10, end=2.0)])
def test_goes_on_in_a_saved_model(ramp, tmp_path):
    (x, y), _ = domains()
    model = compiled(kt.models.DANN(encoder(), head(), discriminator(), reversal=ramp))
    for _ in range(3):
        model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.reversal.get_config() == ramp.get_config()
    (strength,) = values(ramp, 3)
    np.testing.assert_allclose(again.now(again.reversal), strength, rtol=1e-6)
    assert 0 < strength < 2


def test_ends_the_weight_of_a_term():
    """A term whose weight has gone to 0 does not train: the discriminator stops."""
    (x, y), _ = domains()
    ramp = kt.schedules.LinearRamp(2, start=1.0, end=0.0)
    networks = [
        keras.Sequential([keras.Input((width,)), keras.layers.Dense(units)])
        for width, units in ((8, 4), (4, 3), (4, 1))
    ]
    model = compiled(kt.models.DANN(*networks, domain_weight=ramp), keras.optimizers.SGD(0.1))
    moved = []
    for _ in range(4):
        before = model.discriminator.get_weights()
        model.train_on_batch(x, y)
        moved.append(not np.array_equal(before[0], model.discriminator.get_weights()[0]))
    assert moved == [True, True, False, False]

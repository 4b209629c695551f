import keras
import numpy as np
import pytest
from keras import ops

import keras_transfer as kt
from tests.gradients import gradient


def logits(rows=7, classes=5, seed=0):
    return np.random.default_rng(seed).normal(0.0, 2.0, (rows, classes)).astype("float32")


def softmax(z):
    e = np.exp(z.astype("float64"))
    return e / e.sum(axis=-1, keepdims=True)


def by_hand(teacher, student, temperature):
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=-1))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 20.0])
def test_against_numpy(temperature):
    teacher, student = logits(), logits(seed=1)
    value = kt.losses.distillation(teacher, student, temperature)
    np.testing.assert_allclose(value, by_hand(teacher, student, temperature), rtol=1e-4)
    np.testing.assert_allclose(kt.losses.distillation(teacher, teacher + 3.0, temperature), 0.0, atol=1e-5)


def test_two_classes_by_hand():
    """Teacher (3/4, 1/4), student (1/2, 1/2): KL = 3/4 log(3/2) + 1/4 log(1/2)."""
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    for teacher, student in (([np.log(3.0), 0.0], [0.0, 0.0]), ([np.log(3.0)], [0.0])):  # one logit z is (z, 0) too
        value = kt.losses.distillation(np.float32([teacher]), np.float32([student]), 1.0)
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_high_temperatures_match_logits():
    """For T to infinity the loss becomes the squared difference of centred logits over 2 classes (Hinton et al.)."""
    teacher, student = (z - z.mean(axis=1, keepdims=True) for z in (logits(), logits(seed=1)))
    expected = np.mean(np.sum((teacher - student) ** 2, axis=1)) / (2 * 5)
    np.testing.assert_allclose(kt.losses.distillation(teacher, student, 200.0), expected, rtol=0.02)


def test_gradient_is_the_difference_of_the_softened_predictions():
    teacher, student = logits(), logits(seed=1)
    expected = 3.0 * (softmax(student / 3.0) - softmax(teacher / 3.0)) / len(teacher)  # T^2 / T
    found = gradient(lambda z: kt.losses.distillation(teacher, z, 3.0), student)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    to_teacher = gradient(lambda z: kt.losses.distillation(z, student, 3.0) + 0.0 * ops.sum(z), teacher)
    assert not to_teacher.any()


def test_contract():
    def function(teacher, student):
        return kt.losses.distillation(teacher, student, 3.0)

    kt.testing.check_loss(function, kt.losses.DistillationLoss(3.0), logits(), logits(seed=1))


def test_class_weighs_rows_and_trains_on_stored_logits():
    teacher, student = logits(2), logits(2, seed=1)
    rows = [by_hand(teacher[i : i + 1], student[i : i + 1], 2.0) for i in range(2)]
    value = kt.losses.DistillationLoss()(teacher, student, sample_weight=np.float32([1.0, 0.5]))
    np.testing.assert_allclose(value, (rows[0] + 0.5 * rows[1]) / 2, rtol=1e-5)
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(2).normal(size=(64, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    model.compile(keras.optimizers.Adam(0.1), kt.losses.DistillationLoss())
    losses = model.fit(x, x @ logits(4), epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_that_is_not_positive(temperature):
    for make in (lambda t: kt.losses.distillation(logits(), logits(), t), kt.losses.DistillationLoss):
        with pytest.raises(
            ValueError, match=f"Expected `temperature` to be a finite number above 0; received {temperature}"
        ):
            make(temperature)


def test_shapes_that_differ():
    with pytest.raises(ValueError, match=r"same shape .*; received shapes \(7, 5\) and \(7, 4\)"):
        kt.losses.distillation(logits(), logits(classes=4))
    with pytest.raises(ValueError, match=r"received shapes \(7, 5\) and \(5,\)"):
        kt.losses.distillation(logits(), logits()[0])

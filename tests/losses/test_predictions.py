"""Losses of predictions without labels."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles
from tests.gradients import gradient


def logits(rows=12, classes=4, seed=0):
    return (2 * np.random.default_rng(seed).normal(size=(rows, classes))).astype("float32")


LOSSES = {
    "mcc": (kt.losses.mcc, oracles.mcc),
    "mcc, sharper": (kt.losses.MCC(temperature=1.0), lambda x: oracles.mcc(x, 1.0)),
    "entropy": (kt.losses.prediction_entropy, lambda x: oracles.entropy(oracles.softmax(x)).mean()),
    "information": (kt.losses.negative_information, oracles.negative_information),
    "nuclear norm": (kt.losses.negative_nuclear_norm, lambda x: -np.linalg.norm(oracles.softmax(x), "nuc") / len(x)),
}
each_loss = pytest.mark.parametrize("loss, by_hand", LOSSES.values(), ids=LOSSES)


@each_loss
@pytest.mark.parametrize("rows, classes", [(12, 4), (3, 7), (2, 2)])
def test_against_numpy(loss, by_hand, rows, classes):
    x = logits(rows, classes)
    np.testing.assert_allclose(loss(x), by_hand(x.astype("float64")), rtol=1e-4, atol=1e-5)


@each_loss
def test_contract_and_gradient(loss, by_hand):
    """The gradient is that of finite differences of what NumPy computes; MCC takes its weights as fixed."""
    kt.testing.check_loss(lambda _, x: loss(x), None, logits(), logits(seed=1))
    if "mcc" in getattr(loss, "__name__", type(loss).__name__).lower():
        return
    x, step = logits(6, 3).astype("float64"), 1e-5
    found = gradient(loss, x.astype("float32"))
    for place in np.ndindex(*x.shape):
        moved = np.zeros_like(x)
        moved[place] = step
        slope = (by_hand(x + moved) - by_hand(x - moved)) / (2 * step)
        np.testing.assert_allclose(found[place], slope, rtol=1e-2, atol=1e-4)


@each_loss
def test_sure_and_diverse_predictions_have_the_least_of_losses(loss, by_hand):
    sure = 50 * np.eye(4, dtype="float32")[np.arange(12) % 4]
    wavering = np.zeros((12, 4), "float32")
    assert float(loss(sure)) < float(loss(logits())) < float(loss(wavering)) + 1e-6
    assert np.isfinite(gradient(loss, sure)).all() and np.isfinite(gradient(loss, wavering)).all()


def test_one_answer_to_everything_is_sure_and_not_diverse():
    """Only the entropy takes it for as good as it gets, which is 0; information is at its worst, which is 0 too."""
    one = 50 * np.eye(4, dtype="float32")[np.zeros(12, int)]
    np.testing.assert_allclose(kt.losses.prediction_entropy(one), 0.0, atol=1e-6)
    np.testing.assert_allclose(kt.losses.negative_information(one), 0.0, atol=1e-6)
    np.testing.assert_allclose(kt.losses.negative_nuclear_norm(one), -np.sqrt(12) / 12, rtol=1e-4)
    np.testing.assert_allclose(oracles.mcc(one), kt.losses.mcc(one), rtol=1e-4)


@each_loss
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 2)])
def test_what_are_no_predictions(loss, by_hand, shape):
    with pytest.raises(ValueError, match=r"Expected logits of shape \(rows, classes\), at least 2 classes"):
        loss(np.zeros(shape, "float32"))


def test_one_row_is_not_diverse():
    for loss in (kt.losses.mcc, kt.losses.negative_information, kt.losses.negative_nuclear_norm):
        with pytest.raises(ValueError, match="at least 2 rows of predictions"):
            loss(logits(1))


def test_mcc_keeps_its_temperature():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(kt.losses.MCC(1.5)))
    assert again.temperature == 1.5
    with pytest.raises(ValueError, match="`temperature`"):
        kt.losses.MCC(0.0)

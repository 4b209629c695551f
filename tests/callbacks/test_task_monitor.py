import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import CLASSES, encoder, heads, of_tasks, tasks

(X, Y), _ = tasks()


def fitted(weighting):
    model = of_tasks(kt.models.SharedEncoder(encoder(), heads(), weighting, missing=-1))
    history = model.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=[kt.callbacks.TaskMonitor()])
    return model, history.history


def test_weights_and_cosines_are_logged():
    _, history = fitted(kt.weightings.MGDA())
    assert len(history["whole_half_cosine"]) == 2 and np.max(np.abs(history["whole_half_cosine"])) <= 1.001
    assert np.min(history["whole_weight"]) >= 0 and len(set(history["whole_weight"])) == 2
    assert "half_whole_cosine" not in history


def test_weights_of_losses_have_no_cosines():
    _, history = fitted(kt.weightings.StaticWeighting({"whole": 2.0, "half": 0.5}))
    assert history["whole_weight"] == [2.0, 2.0] and history["half_weight"] == [0.5, 0.5]
    assert not any(name.endswith("cosine") for name in history)


def test_without_a_weighting_it_logs_nothing():
    assert not any(name.endswith(("weight", "cosine")) for name in fitted(None)[1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(len(X), -1), "received 0 in all 2 steps of an epoch for the task 'half': it has no labels"),
        (np.full(len(X), 1e30), "received inf for the task 'half' in batch 0"),
    ],
)
def test_a_task_that_does_not_learn_is_named(labels, message):
    model = kt.models.SharedEncoder(encoder(), heads(), missing=-1)
    model.compile("sgd", {"whole": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "half": "mse"})
    with pytest.raises(ValueError, match=message):
        y = {"whole": Y["whole"], "half": np.repeat(labels[:, None], CLASSES, axis=1)}
        model.fit(X, y, batch_size=8, verbose=0, callbacks=[kt.callbacks.TaskMonitor()])


def test_a_constant_loss_is_named():
    model = kt.models.SharedEncoder(encoder(), heads())
    model.compile("sgd", {"whole": "mse", "half": lambda y, prediction: 0 * prediction + 1.7})
    y = dict.fromkeys(Y, np.random.default_rng(0).normal(size=(len(X), CLASSES)))
    with pytest.raises(ValueError, match="received 1.7 in all 2 steps of an epoch for the task 'half': nothing moves"):
        model.fit(X, y, batch_size=8, epochs=2, verbose=0, callbacks=[kt.callbacks.TaskMonitor()])


def test_labels_in_the_first_step_of_an_epoch_alone_are_no_mistake():
    """The mean over labels stays where that step left it; the next epoch's is another."""
    model = of_tasks(kt.models.SharedEncoder(encoder(), heads(), missing=-1))
    y = {"whole": Y["whole"], "half": np.where(np.arange(len(X)) < 8, Y["whole"], -1)}
    history = model.fit(
        X, y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[kt.callbacks.TaskMonitor()]
    ).history
    assert len(set(history["half_term"])) == 3


def test_a_model_without_terms_is_refused():
    plain = keras.Sequential([encoder()])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="logs its terms as `<task>_term`; received"):
        plain.fit(X, plain(X), verbose=0, callbacks=[kt.callbacks.TaskMonitor()])

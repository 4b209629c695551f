import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import encoder, heads, of_tasks, tasks

(X, Y), _ = tasks()


def fitted(weighting):
    model = of_tasks(kt.models.SharedEncoder(encoder(), heads(), weighting, missing=-1))
    history = model.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=[kt.callbacks.TaskMonitor(1)])
    return model, history.history


def test_weights_and_cosines_are_logged():
    model, history = fitted(kt.weightings.MGDA())
    assert len(history["whole_half_cosine"]) == 2 and np.max(np.abs(history["whole_half_cosine"])) <= 1.001
    assert np.min(history["whole_weight"]) >= 0 and len(set(history["whole_weight"])) == 2
    assert "half_whole_cosine" not in history


def test_weights_of_losses_have_no_cosines():
    _, history = fitted(kt.weightings.StaticWeighting({"whole": 2.0, "half": 0.5}))
    assert history["whole_weight"] == [2.0, 2.0] and history["half_weight"] == [0.5, 0.5]
    assert not any(name.endswith("cosine") for name in history)


def test_errors():
    with pytest.raises(ValueError, match="at least 1; received 0"):
        kt.callbacks.TaskMonitor(0)
    with pytest.raises(ValueError, match="a model with a `weighting`; received SharedEncoder without"):
        fitted(None)

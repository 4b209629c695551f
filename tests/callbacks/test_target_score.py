import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.models.adaptation import toy

NAMES = ("target_information", "target_nuclear_norm", "target_entropy", "target_density")


def trained(*callbacks, epochs=2):
    networks = toy.networks()
    model = kt.models.TargetTerms(networks["encoder"], networks["head"])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    x, y = toy.batch()
    history = model.fit(x | {"target": x["target"][:12]}, y, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model, history.history


def test_logs_are_the_scores_of_each_epoch():
    x = toy.batch()[0]["target"]
    model, logs = trained(kt.callbacks.TargetScore(x, collapse=0.0))
    logits = model.predict(x, verbose=0)
    for name in NAMES:
        assert len(logs[name]) == 2
    expected = [
        kt.metrics.information(logits),
        kt.metrics.nuclear_norm(logits),
        kt.metrics.prediction_entropy(logits),
        kt.metrics.neighborhood_density(logits),
    ]
    np.testing.assert_allclose([logs[name][-1] for name in NAMES], expected, rtol=1e-4)


def test_the_distance_is_that_of_the_served_features():
    x, _ = toy.batch()
    model, logs = trained(kt.callbacks.TargetScore(x["target"], collapse=0.0, source=x["source"]))
    features = [model.encoder.predict(rows, verbose=0) for rows in (x["source"], x["target"])]
    features = [of[np.random.default_rng(0).permutation(len(of))] for of in features]  # on which the folds depend
    assert len(logs["domain_distance"]) == 2
    assert logs["domain_distance"][-1] == kt.metrics.proxy_a_distance(*features) > 0


def test_early_stopping_can_monitor_it():
    stop = keras.callbacks.EarlyStopping("target_information", mode="max", patience=1, min_delta=10)
    _, logs = trained(kt.callbacks.TargetScore(toy.batch()[0]["target"], collapse=0.0), stop, epochs=5)
    assert len(logs["loss"]) == 2


def answering(answers):
    """A model whose logits are given."""
    model = keras.Sequential([keras.Input((answers.shape[1],)), keras.layers.Identity()])
    score = kt.callbacks.TargetScore(answers)
    score.set_model(model)
    return score


def test_one_answer_to_everything_is_a_collapse():
    score = answering(np.float32(9 * np.eye(4)[np.zeros(16, int)]))
    with pytest.warns(UserWarning, match="spread over 1.0 of 4 classes, and 100% of them are class 0"):
        score.on_epoch_end(0, {})
    score.on_epoch_end(1, {})  # once: a second warning would be an error here


def test_a_class_that_is_no_answer_is_told_at_the_end():
    score = answering(np.float32(9 * np.eye(4)[np.arange(15) % 3]))
    score.on_epoch_end(0, {})
    with pytest.warns(UserWarning, match=r"no row of the target is told to be of the classes \[3\]"):
        score.on_train_end()
    silent = kt.callbacks.TargetScore(score.x, collapse=0.0)
    silent.set_model(score.model)
    silent.on_epoch_end(0, {})
    silent.on_train_end()  # a warning would be an error here


def test_a_discriminator_that_loses_from_the_start_is_told():
    answers = np.float32(9 * np.eye(4)[np.arange(16) % 4])
    score = answering(answers)
    for epoch in range(2):
        score.on_epoch_end(epoch, {"domain_term": 0.8})
    with pytest.warns(UserWarning, match="the domain term was above log 2, 0.750 in the last"):
        score.on_epoch_end(2, {"domain_term": 0.75})
    score.on_epoch_end(3, {"domain_term": 0.8})  # once: a second warning would be an error here
    recovers = answering(answers)
    for epoch, term in enumerate((0.8, 0.6, 0.8, 0.8)):
        recovers.on_epoch_end(epoch, {"domain_term": term})


@pytest.mark.filterwarnings("error")
def test_all_classes_are_no_collapse():
    answering(np.float32(9 * np.eye(4)[np.arange(16) % 4])).on_epoch_end(0, {})


@pytest.mark.parametrize("source_only, warns", [(5.0, True), (-1.0, False), (None, False)])
def test_a_score_below_the_source_alone_is_told(source_only, warns, recwarn):
    trained(kt.callbacks.TargetScore(toy.batch()[0]["target"], source_only, collapse=0.0))
    assert any("adaptation may hurt here" in str(w.message) for w in recwarn) == warns


@pytest.mark.parametrize("x", [np.zeros((1, 2)), np.full((4, 2), np.nan), (np.zeros((4, 2)), np.zeros(4, int))])
def test_bad_input(x):
    with pytest.raises(ValueError, match="Expected"):
        kt.callbacks.TargetScore(x)

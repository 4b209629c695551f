"""MCD and MDD, which look at where two heads differ."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles
from tests.models.adaptation import toy


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    return model


def second():
    return toy.networks()["head"]


def test_mcd_by_hand():
    networks, (x, y) = toy.networks(), toy.batch()
    model = compiled(kt.models.MCD(networks["encoder"], networks["head"], second(), agreement_weight=0.3))
    outputs = toy.checked_outputs(model, x)
    heads = [
        np.asarray(head(outputs[d]), "float64")
        for d in ("source", "target")
        for head in (model.head, model.second_head)
    ]
    tasks = [toy.cross_entropy(y, logits) for logits in heads[:2]]
    apart = [sum(abs(a - b) for a, b in zip(p, q)) for p, q in zip(*map(oracles.softmax, heads[2:]))]
    logs = model.train_on_batch(x, y, return_dict=True)
    names = ("task_term", "second_task_term", "agreement_term")
    np.testing.assert_allclose([logs[name] for name in names], [*tasks, -np.mean(apart)], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], sum(tasks) - 0.3 * np.mean(apart), rtol=1e-5)


def test_mdd_by_hand():
    networks, (x, y) = toy.networks(), toy.batch()
    model = compiled(kt.models.MDD(networks["encoder"], networks["head"], second(), disparity_weight=0.3, margin=2.0))
    outputs = toy.checked_outputs(model, x)
    agrees, differs = [], []
    for domain, said in (("source", "prediction"), ("target", "target_prediction")):
        q = oracles.softmax(np.asarray(model.adversary(outputs[domain]), "float64"))
        for row, logits in zip(q, outputs[said]):
            (agrees if domain == "source" else differs).append(
                -np.log(row[logits.argmax()] if domain == "source" else 1 - row[logits.argmax()])
            )
    logs = model.train_on_batch(x, y, return_dict=True)
    disparity = 2.0 * np.mean(agrees) + np.mean(differs)
    np.testing.assert_allclose(logs["disparity_term"], disparity, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], toy.cross_entropy(y, outputs["prediction"]) + 0.3 * disparity, rtol=1e-5)


def test_equal_heads_never_disagree():
    networks = toy.networks()
    twin = kt.networks.copy_network(networks["head"])
    with pytest.raises(ValueError, match="Expected two heads with weights of their own, which can disagree"):
        kt.models.MCD(networks["encoder"], networks["head"], twin)


def test_a_sure_adversary_is_finite():
    """log(1 - q) of an answer of which the adversary is certain."""
    networks, (x, y) = toy.networks(), toy.batch()
    model = compiled(kt.models.MDD(networks["encoder"], networks["head"], kt.networks.copy_network(networks["head"])))
    for head in (model.head, model.adversary):
        head.set_weights([1e4 * w for w in head.get_weights()])
    assert np.isfinite(model.train_on_batch(x, y, return_dict=True)["disparity_term"])


def test_mdd_brings_back_a_turn():
    """Three classes that lie apart, turned so that the source's classifier errs."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    centres = np.array([[0, 4], [4, -3], [-4, -3]])
    source = (centres[y] + 0.7 * rng.normal(size=(600, 2))).astype("float32")
    angle = np.deg2rad(40)
    target = source @ np.float32([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    accuracies = {}
    for reversal in (0.0, kt.schedules.DannRamp(135, peak=0.03)):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense
        encoder = keras.Sequential([keras.Input((2,)), dense(16, "relu"), dense(8, "tanh")])
        head, adversary = (keras.Sequential([keras.Input((8,)), dense(3)]) for _ in range(2))
        model = kt.models.MDD(encoder, head, adversary, reversal=reversal)
        model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(kt.streams.domains((source, y), target, seed=0), epochs=15, verbose=0)
        accuracies[reversal] = (model.predict(target, verbose=0).argmax(1) == y).mean()
    without, with_reversal = accuracies.values()
    assert with_reversal > max(without + 0.01, 0.97)

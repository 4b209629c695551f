"""EWC, synaptic intelligence and MAS against what their papers say, in NumPy and by loops over examples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests.models.continual import toy

m = kt.models


def values(variables):
    return [np.array(v, "float64") for v in variables]


def moved(model, seed):
    """Puts all weights somewhere else."""
    rng = np.random.default_rng(seed)
    for v in model.protected():
        v.assign(v + 0.2 * rng.normal(size=v.shape))
    model.step.assign_add(1)  # as training does


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_constant_memory_is_one_penalty_for_each_task(decay):
    """The value and the gradient of the sum over tasks of F (w - w_t)^2 / 2, with what decay leaves of each F."""
    model = toy.compiled(m.EWC(*toy.networks(), decay=decay), run_eagerly=True)
    kept = []
    for number, (x, y) in enumerate(toy.tasks()):
        moved(model, number)
        kept = [([decay * f for f in fishers], anchors) for fishers, anchors in kept]
        kept.append((kt.metrics.fisher(model, x), values(model.protected())))
        model.consolidate(x, y)
    moved(model, 9)
    now = values(model.protected())
    expected = sum((f * (w - a) ** 2).sum() / 2 for fs, anchors in kept for f, w, a in zip(fs, now, anchors))
    slopes = [sum(fs[i] * (w - anchors[i]) for fs, anchors in kept) for i, w in enumerate(now)]
    x, y = toy.rows()
    with tf.GradientTape() as tape:
        term = model.loss_terms(x, y, {"prediction": model(x)})["anchor"]
    found = tape.gradient(term, [v.value for v in model.protected()])
    np.testing.assert_allclose(term, expected, rtol=1e-5)
    for one, slope in zip(found, slopes):
        np.testing.assert_allclose(one, slope, rtol=1e-4, atol=1e-5 * np.abs(slope).max())


def test_the_penalty_acts_in_the_next_task():
    """In some libraries it was 0 whatever happened: anchors that follow the weights."""
    model = toy.compiled(m.EWC(*toy.networks(), 10.0))
    (first, second, _) = toy.tasks()
    logs = toy.fit(model, *first).history
    assert logs["anchor_term"] == [0.0] * len(logs["anchor_term"])
    model.consolidate(*first)
    logs = toy.fit(model, *second).history
    assert logs["anchor_term"][-1] > 1e-4


def test_frozen_weights_are_not_pulled():
    encoder, head = toy.networks()
    model = toy.compiled(m.EWC(encoder, head, 10.0), run_eagerly=True)
    x, y = toy.tasks()[0]
    moved(model, 0)
    model.consolidate(x, y)
    moved(model, 1)
    whole = float(model.loss_terms(x, y, {"prediction": model(x)})["anchor"])
    encoder.trainable = False
    head_alone = float(model.loss_terms(x, y, {"prediction": model(x)})["anchor"])
    triples = zip(*map(values, (head.weights, model.information[2:], model.anchors[2:])))
    assert head_alone == pytest.approx(sum((f * (w - a) ** 2).sum() / 2 for w, f, a in triples), rel=1e-4)
    assert head_alone < whole
    model.step.assign_add(1)
    model.consolidate(x, y)  # the Fisher information of what is frozen is none
    encoder.trainable = True


def gradient(model, x, y):
    with tf.GradientTape() as tape:
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True))
    return values(tape.gradient(loss, [v.value for v in model.protected()]))


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(0.05, momentum=0.9), keras.optimizers.Adam(0.01)])
def test_synaptic_intelligence_follows_the_loss_of_the_task_alone(optimizer):
    """Over two tasks, the second under the penalty of the first; the moves are the optimizer's own."""
    model = m.SynapticIntelligence(*toy.networks(), anchor_weight=1.0, damping=0.3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=True)
    importance = [np.zeros(v.shape) for v in model.protected()]
    for x, y in toy.tasks()[:2]:
        start, gained = values(model.protected()), [np.zeros(v.shape) for v in model.protected()]
        for first in range(0, 48, 16):
            rows = slice(first, first + 16)
            before, slopes = values(model.protected()), gradient(model, x[rows], y[rows])
            model.train_on_batch(x[rows], y[rows])
            moves = [now - then for now, then in zip(values(model.protected()), before)]
            gained = [total - slope * move for total, slope, move in zip(gained, slopes, moves)]
        model.consolidate(x, y)
        for i, now in enumerate(values(model.protected())):
            importance[i] += np.maximum(gained[i], 0) / ((now - start[i]) ** 2 + 0.3)
        for found, expected in zip(values(model.importance), importance):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert max(one.max() for one in importance) > 0


def test_mas_is_the_mean_of_absolute_gradients_of_each_row():
    model = toy.compiled(m.MAS(*toy.networks()))
    x, y = toy.tasks()[0]
    x, y = x[:20], y[:20]
    moved(model, 0)
    expected = [0.0] * len(model.protected())
    for row in x:
        with tf.GradientTape() as tape:
            size = keras.ops.sum(keras.ops.square(model(row[None])))
        found = values(tape.gradient(size, [v.value for v in model.protected()]))
        expected = [total + np.abs(one) / len(x) for total, one in zip(expected, found)]
    model.consolidate(x, y)
    for found, one in zip(values(model.importance), expected):
        np.testing.assert_allclose(found, one, rtol=1e-4, atol=1e-6)


def test_a_task_of_its_own_classes_knows_no_others():
    """With tasks, information is that of the answers among the task's classes; other columns of the head have none."""
    model = toy.compiled(m.EWC(*toy.networks(), tasks=toy.PAIRS), tasks=toy.PAIRS)
    x, y = toy.tasks()[1]
    moved(model, 0)
    model.consolidate(x, y)
    kernel = np.array(model.information[2])
    assert (kernel[:, [0, 1, 4, 5]] == 0).all() and (kernel[:, [2, 3]] > 0).any()
    expected = kt.metrics.fisher(model, x, classes=[2, 3])
    np.testing.assert_allclose(kernel, expected[2], rtol=1e-5)

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import encoder, network, projector, unlabelled, views


def weights(*networks):
    return [w for network in networks for w in network.get_weights()]


def test_teacher_begins_as_the_student_and_follows_it():
    model = unlabelled(kt.models.BYOL(encoder(), projector(), projector(), momentum=0.9), run_eagerly=True)
    students, teachers = (model.encoder, model.projector), (model.teacher_encoder, model.teacher_projector)
    for s, t in zip(weights(*students), weights(*teachers)):
        np.testing.assert_array_equal(s, t)
    for _ in range(3):
        before = weights(*students), weights(*teachers)
        model.train_on_batch(views()[0][0])
        for student, old, new in zip(*before, weights(*teachers)):
            np.testing.assert_allclose(new, 0.9 * old + 0.1 * student, rtol=1e-6)


def test_loss_by_hand():
    model = unlabelled(kt.models.BYOL(encoder(), projector(), network(16, 16, "tanh")), run_eagerly=True)
    x = views()[0][0]

    def unit(x):
        return np.array(x) / np.linalg.norm(x, axis=1, keepdims=True)

    predicted = [unit(model.predictor(model.projector(model.encoder(view)))) for view in x.values()]
    targets = [unit(model.teacher_projector(model.teacher_encoder(view))) for view in x.values()]
    distances = [((p - t) ** 2).sum(1).mean() for p, t in zip(predicted, targets[::-1])]
    logs = model.train_on_batch(x, return_dict=True)
    np.testing.assert_allclose(logs["regression_term"], sum(distances), rtol=1e-4)


def test_teacher_is_normalised_by_its_batch_and_learns_nothing_by_gradient():
    normalized = keras.Sequential([encoder(), keras.layers.BatchNormalization()])
    model = unlabelled(kt.models.BYOL(normalized, projector(), projector(), momentum=1.0), run_eagerly=True)
    teacher = model.teacher_encoder
    before = teacher.get_weights()
    model.train_on_batch(views()[0][0])
    after = teacher.get_weights()
    np.testing.assert_array_equal(after[0], before[0])  # the kernel: with a momentum of 1 it stays
    assert np.abs(after[-1] - before[-1]).max() > 0  # the moving variance: its BatchNormalization trains
    names = {v.path for v in model.trainable_variables}
    assert not names & {v.path for v in teacher.variables + model.teacher_projector.variables}


def test_unbuilt_networks_are_refused():
    with pytest.raises(ValueError, match="Expected a built network to copy"):
        kt.models.BYOL(keras.Sequential([keras.layers.Dense(3)]), projector(), projector())

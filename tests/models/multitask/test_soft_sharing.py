import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from tests.contract import each, encoder, heads, of_tasks, tasks

(X, Y), _ = tasks()


def flat(model):
    return [np.concatenate([np.ravel(w) for w in tower.get_weights()]) for tower in model.towers.values()]


def made(run_eagerly=False, **settings):
    keras.utils.set_random_seed(0)
    return of_tasks(kt.models.SoftSharing(each(encoder), heads(), missing=-1, **settings), run_eagerly=run_eagerly)


def test_the_pull_is_half_the_squared_distance_of_two_towers():
    model = made(pull_weight=0.0, run_eagerly=True)
    a, b = flat(model)
    logs = model.train_on_batch(X, Y, return_dict=True)
    np.testing.assert_allclose(logs["pull_term"], np.square(a - b).sum() / 2, rtol=1e-5)


def trained(pull, weight):
    model = made(pull=pull, pull_weight=weight)
    model.fit(tf.data.Dataset.from_tensors((X, Y)).repeat(30), verbose=0)
    assert model.evaluate(X, Y, verbose=0, return_dict=True)["whole_accuracy"] > 0.9
    return np.linalg.svd(np.stack(flat(model)), compute_uv=False)


def test_the_spread_brings_towers_together():
    (first, second), (first_alone, second_alone) = (trained(kt.losses.weight_spread, weight) for weight in (0.05, 0.0))
    assert second / first < 0.6 * second_alone / first_alone


def test_the_trace_norm_falls():
    pulled, alone = (trained(kt.losses.trace_norm, weight).sum() for weight in (0.05, 0.0))
    assert pulled < 0.8 * alone

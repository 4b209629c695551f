import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import each, encoder, heads, of_tasks, tasks

(X, Y), _ = tasks()


def flat(model):
    return [np.concatenate([np.ravel(w) for w in tower.get_weights()]) for tower in model.towers.values()]


def made(**settings):
    keras.utils.set_random_seed(0)
    return of_tasks(kt.models.SoftSharing(each(encoder), heads(), missing=-1, **settings))


def test_the_pull_is_half_the_squared_distance_of_two_towers():
    model = made(pull_weight=0.0)
    a, b = flat(model)
    logs = model.train_on_batch(X, Y, return_dict=True)
    np.testing.assert_allclose(logs["pull_term"], np.square(a - b).sum() / 2, rtol=1e-5)


@pytest.mark.parametrize("pull", [kt.losses.weight_spread, kt.losses.trace_norm])
def test_the_pull_brings_towers_together(pull):
    """What the towers' weights do not have in common, by the second singular value over the first."""
    ratios = []
    for strength in (0.0, 0.05):
        model = made(pull=pull, pull_weight=strength)
        model.fit(X, Y, epochs=30, batch_size=len(X), verbose=0)
        first, second = np.linalg.svd(np.stack(flat(model)), compute_uv=False)
        ratios.append(second / first)
    assert ratios[1] < 0.6 * ratios[0], ratios

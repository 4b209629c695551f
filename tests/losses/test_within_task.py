import keras
import numpy as np
import pytest

import keras_transfer as kt

TASKS = [[0, 3], [1, 2]]


def given(rows=20):
    rng = np.random.default_rng(0)
    return rng.integers(0, 4, rows), rng.normal(size=(rows, 4)).astype("float32")


def test_it_is_the_crossentropy_of_a_head_for_each_task_of_numpy():
    y, logits = given()
    expected, right = [], []
    for label, row in zip(y, logits):
        members = next(one for one in TASKS if label in one)
        z = row[members].astype("float64")
        expected.append(np.log(np.exp(z).sum()) - row[label])
        right.append(members[z.argmax()] == label)
    assert float(kt.losses.TaskCrossentropy(TASKS)(y, logits)) == pytest.approx(np.mean(expected), rel=1e-5)
    metric = kt.metrics.TaskAccuracy(TASKS)
    metric.update_state(y[:, None], logits)
    assert float(metric.result()) == pytest.approx(np.mean(right))


def test_other_tasks_get_no_gradient():
    y, logits = np.array([0, 3]), np.zeros((2, 4), "float32")
    variable = keras.Variable(logits)
    before = float(kt.losses.TaskCrossentropy(TASKS)(y, variable))
    variable.assign(logits + np.float32([0, 5, -5, 0]))
    assert float(kt.losses.TaskCrossentropy(TASKS)(y, variable)) == before == pytest.approx(np.log(2), rel=1e-5)


def test_they_are_saved():
    for kind in (kt.losses.TaskCrossentropy, kt.metrics.TaskAccuracy):
        assert kind.from_config(kind(TASKS).get_config()).tasks == TASKS


@pytest.mark.parametrize(
    "tasks, said",
    [
        ([], "list of lists of classes"),
        ([[0], []], "list of lists of classes"),
        ([0, 1], "list of lists of classes"),
        ([[0, 1], [1]], r"each class in one task; received \[1\]"),
        ([[-1, 0]], "classes from 0 in `tasks`; received -1 to 0"),
    ],
)
def test_what_are_no_tasks(tasks, said):
    with pytest.raises(ValueError, match=said):
        kt.losses.TaskCrossentropy(tasks)

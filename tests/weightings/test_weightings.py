import keras
import numpy as np
import pytest

import keras_transfer as kt

TASKS = {"a": (), "b": (), "c": ()}


def built(weighting):
    weighting.build(TASKS)
    return weighting


def called(weighting, *losses, training=True):
    return float(weighting(dict(zip(TASKS, np.float32(losses))), training=training))


def combined(weighting, gradients, losses=(1.0, 1.0, 1.0)):
    """The coefficients of a step with one gradient for each task, the rows `(tasks, dim)`."""
    called(weighting, *losses)
    update = weighting.combine({task: [row] for task, row in zip(TASKS, np.float32(gradients))})
    np.testing.assert_allclose(update[0], state(weighting.used) @ np.float32(gradients), rtol=1e-5, atol=1e-6)
    return state(weighting.used)


def state(variable):
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))


@pytest.mark.parametrize("name", [n for n in kt.weightings.__all__ if not n.endswith("Weighting") or n[0] in "RS"])
def test_settings_survive_saving(name):
    settings = {
        "StaticWeighting": {"weights": {"a": 1.0, "b": 2.0, "c": 0.0}},
        "Uncertainty": {"regression": ("b",), "rate": 10.0, "from_first_losses": True},
        "RandomWeighting": {"seed": 3},
        "DynamicWeightAverage": {"steps": 7, "temperature": 1.5},
        "PCGrad": {"seed": 2},
        "MGDA": {"normalized": False, "on": "representation"},
        "CAGrad": {"strength": 0.3},
        "GradNorm": {"asymmetry": 0.5, "rate": 0.1, "on": "parameters"},
    }[name]
    weighting = getattr(kt.weightings, name)(**settings)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(weighting))
    found = again.get_config()
    assert {key: tuple(v) if isinstance(v := found[key], list) else v for key in settings} == settings
    built(again)


def test_static():
    weighting = built(kt.weightings.StaticWeighting({"b": 2.0, "a": 1.0, "c": 0.0}))
    assert called(weighting, 1.0, 10.0, 100.0) == 21.0
    np.testing.assert_array_equal(state(weighting.used), [1, 2, 0])
    with pytest.raises(ValueError, match=r"at least 0; received \{'a': -1"):
        kt.weightings.StaticWeighting({"a": -1.0})


@pytest.mark.parametrize("rate", [1.0, 20.0])
def test_uncertainty_comes_to_rest_where_the_variances_are_the_losses(rate):
    """exp(s) = 2 loss for classifications, exp(s) = loss for regressions."""
    losses = np.float32([0.5, 2.0, 7.0])
    weighting = kt.weightings.Uncertainty(regression=("b",), rate=rate)
    built(weighting)

    class Alone(keras.Model):
        def __init__(self):
            super().__init__()
            self.weighting = weighting

        def call(self, x):
            return x

        def compute_loss(self, *args, **kwargs):
            return self.weighting(dict(zip(TASKS, losses)), training=True)

    model = Alone()
    model.compile(keras.optimizers.Adam(0.1 / rate))
    model.fit(np.zeros((400, 1), "float32"), batch_size=1, verbose=0)
    np.testing.assert_allclose(np.exp(state(weighting.log_variances)), losses * [2, 1, 2], rtol=0.02)


def test_uncertainty_from_the_first_losses_that_there_are():
    """Begins at the same place of rest; a first loss of 0 is a task without labels, which begins later."""
    weighting = built(kt.weightings.Uncertainty(regression=("b",), from_first_losses=True))
    called(weighting, 0.5, 2.0, 0.0)
    np.testing.assert_allclose(np.exp(state(weighting.log_variances)), [1, 2, 1], rtol=1e-6)
    total = called(weighting, 5.0, 4.0, 7.0)
    np.testing.assert_allclose(np.exp(state(weighting.log_variances)), [1, 2, 14], rtol=1e-6)
    np.testing.assert_allclose(total, 5.0 / 1 + 4.0 / 2 / 2 + 7.0 / 14 + np.log([1, 2, 14]).sum() / 2, rtol=1e-6)


def test_random_weights_are_new_in_each_step_and_sum_to_the_tasks():
    weighting = built(kt.weightings.RandomWeighting(seed=0))
    assert called(weighting, 1.0, 2.0, 3.0, training=False) == 6.0
    found = []
    for _ in range(500):
        called(weighting, 1.0, 2.0, 3.0)
        found.append(state(weighting.used))
    np.testing.assert_allclose(np.sum(found, axis=1), 3.0, rtol=1e-5)
    np.testing.assert_allclose(np.mean(found, axis=0), 1.0, atol=0.1)
    assert np.std(found, axis=0).min() > 0.2


def test_dynamic_weight_average_by_hand():
    weighting = built(kt.weightings.DynamicWeightAverage(steps=2, temperature=2.0))
    rows = np.float32([[4, 1, 2], [2, 1, 2], [1, 1, 1], [1, 1, 2], [9, 9, 9]])
    used = []
    for losses in rows:
        called(weighting, *losses)
        used.append(state(weighting.used))
    np.testing.assert_allclose(used[:4], 1.0, rtol=1e-6)
    ratios = rows[2:4].mean(0) / rows[:2].mean(0)
    expected = 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum()
    np.testing.assert_allclose(used[4], expected, rtol=1e-5)


def test_grad_norm_brings_the_gradients_to_one_length():
    """Equal pace: after many steps the weighted lengths are equal; the weights sum to the tasks all the way."""
    tf = pytest.importorskip("tensorflow")
    weighting = built(kt.weightings.GradNorm(rate=0.002))
    lengths = np.float32([1.0, 3.0, 10.0])

    @tf.function
    def step():
        weighting(dict.fromkeys(TASKS, tf.ones(())), training=True)
        weighting.combine({task: [row] for task, row in zip(TASKS, np.diag(lengths))})
        return tf.convert_to_tensor(weighting.used)

    for _ in range(3000):
        weights = step().numpy()
        np.testing.assert_allclose(weights.sum(), 3.0, rtol=1e-4)
    weighted = weights * lengths
    np.testing.assert_allclose(weighted / weighted.mean(), 1.0, atol=0.05)


def test_grad_norm_gives_a_lagging_task_more():
    weighting = built(kt.weightings.GradNorm(rate=0.001))
    one = np.eye(3, dtype="float32")
    combined(weighting, one)
    for _ in range(20):
        weights = combined(weighting, one, (1.0, 0.2, 0.2))
    assert weights[0] > 1 > weights[1]


def test_grad_norm_begins_with_the_first_labels_of_a_task():
    """The third task has none in the first batch; from then on its first loss is that of the second."""
    late, early = (built(kt.weightings.GradNorm()) for _ in range(2))
    combined(late, np.diag([1, 1, 0]), (2, 2, 0))
    for weighting in (late, early):
        combined(weighting, np.eye(3), (2, 2, 5))
        np.testing.assert_array_equal(state(weighting.first), [2, 2, 5])
    np.testing.assert_allclose(state(late.task_weights), 1.0, atol=0.1)


def test_normalised_mgda_does_not_depend_on_the_units():
    weighting = built(kt.weightings.MGDA())
    g = np.random.default_rng(0).normal(size=(3, 5))
    units = np.array([1.0, 100.0, 0.01])
    updates = []
    for scale in (np.ones(3), units):
        scaled = g * scale[:, None]
        update = combined(weighting, scaled) @ scaled
        updates.append(update / np.linalg.norm(update))
    np.testing.assert_allclose(updates[0], updates[1], atol=1e-2)


OVERFLOWS = {
    "StaticWeighting": {"weights": {"a": 1.0, "b": 2.0, "c": 0.5}},
    "Uncertainty": {"from_first_losses": True},
    "RandomWeighting": {"seed": 3},
    "DynamicWeightAverage": {"steps": 2},
    "PCGrad": {},
    "MGDA": {},
    "CAGrad": {},
    "GradNorm": {},
}


@pytest.mark.parametrize("first", [True, False], ids=["in the first step", "later"])
@pytest.mark.parametrize("what", ["losses", "gradients"])
@pytest.mark.parametrize("name", OVERFLOWS)
def test_a_weighting_holds_still_where_a_step_overflows(name, what, first):
    """What follows is as if the step had not been; it is one that the optimizer skips under float16."""
    weighting, calm = (built(getattr(kt.weightings, name)(**OVERFLOWS[name])) for _ in range(2))
    gradients = np.random.default_rng(0).normal(size=(3, 5))

    def steps(one, number):
        for step in range(number):
            losses = np.array([1.0, 2.0, 4.0]) / (1 + step * np.array([1.0, 0.5, 0.1]))
            combined(one, gradients, losses) if one.on else called(one, *losses)

    before = 0 if first else 3
    for one in (weighting, calm):
        steps(one, before)
    start = [state(v) for v in weighting.variables]
    if what == "losses" or not weighting.on:
        called(weighting, 1.0, float("inf"), float("nan"))
    bad = gradients.copy()
    bad[1, 2], bad[2, 0] = np.inf, np.nan
    if weighting.on:
        found = weighting.combine({task: [row] for task, row in zip(TASKS, np.float32(bad))})
        assert not np.isfinite(state(found[0])).all()  # so that the optimizer skips it
    for variable, value in zip(weighting.variables, start):
        shown = variable is weighting.used and not weighting.on  # what the step counted, not what follows from it
        if not shown and "seed" not in variable.path:
            np.testing.assert_array_equal(state(variable), value, err_msg=variable.path)
    for one in (weighting, calm):
        steps(one, 5)
    for found, expected in zip(weighting.variables, calm.variables):
        if name not in ("RandomWeighting", "PCGrad"):  # these drew once more
            np.testing.assert_allclose(state(found), state(expected), rtol=1e-6, err_msg=found.path)
        assert np.isfinite(state(found)).all(), found.path


def test_slopes_are_what_losses_count_in_the_total():
    """In evaluation too, where most weightings are the plain sum."""
    losses = np.array([0.5, 2.0, 7.0])
    uncertain = built(kt.weightings.Uncertainty(regression=("b",), from_first_losses=True))
    static = built(kt.weightings.StaticWeighting({"a": 1.0, "b": 2.0, "c": 0.0}))
    average = built(kt.weightings.DynamicWeightAverage(steps=1))
    for _ in range(3):
        for weighting in (uncertain, static, average):
            called(weighting, *losses)
            losses = losses * np.array([0.9, 0.5, 0.1])
    for weighting, training, expected in [
        (uncertain, False, state(uncertain.used)),
        (uncertain, True, state(uncertain.used)),
        (static, False, [1, 2, 0]),
        (average, True, state(average.used)),
        (average, False, [1, 1, 1]),
        (built(kt.weightings.MGDA()), True, [1, 1, 1]),
    ]:
        found = weighting.slopes(training)
        assert list(found) == list(TASKS)
        np.testing.assert_allclose([float(value) for value in found.values()], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kt.weightings.Uncertainty(rate=0), "positive `rate`; received 0"),
        (lambda: built(kt.weightings.Uncertainty(regression=("x",))), r"among the tasks .*received \['x'\]"),
        (lambda: kt.weightings.CAGrad(1.0), "at least 0 and below 1; received 1.0"),
        (lambda: kt.weightings.GradNorm(rate=0), "a positive `rate`"),
        (lambda: kt.weightings.DynamicWeightAverage(0), "`steps` to be an int of at least 1"),
        (lambda: kt.weightings.PCGrad("heads"), '"parameters" or "representation"; received \'heads\''),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()

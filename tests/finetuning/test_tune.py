import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.finetuning import Setting, interpolate, tune
from keras_transfer.finetuning.tune import _folds, _preferred

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly")
CLASSES = 3
OPTIONS = {"rates": (1e-2,), "steps": (5,), "batch_size": 8, "verbose": False}


@pytest.fixture(scope="module", autouse=True)
def eagerly():
    """A few steps of tiny networks take less time than a graph of them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def pictures(per_class=8, seed=0):
    """Pictures of 8 pixels whose class is where they are bright, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.tile(np.arange(CLASSES), per_class)
    x = rng.integers(0, 120, (len(y), 8, 8, 1)).astype("uint8")
    for row, label in zip(x, y):
        row[2 * label : 2 * label + 2] += 100
    return x, y


def network():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, strides=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(6, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
        ]
    )


@pytest.fixture(scope="module")
def tuned():
    encoder, (x, y) = network(), pictures()
    before = [weight.copy() for weight in encoder.get_weights()]
    found = tune(encoder, x, y, keras.layers.RandomTranslation(0.05, 0.05), views=3, depths=(0.5, 1.0), **OPTIONS)
    for a, b in zip(before, encoder.get_weights()):
        np.testing.assert_array_equal(a, b)  # what was passed stays as it is
    return found


def test_what_is_chosen_was_tried(tuned):
    assert tuned.chosen in tuned.scores
    assert {setting.share for setting in tuned.scores} == {0.0, 0.5, 1.0}  # one depth went through all folds
    assert all(0 <= score <= 1 for score in tuned.scores.values())
    assert set(tuned.probes) == {"plain", "views"} and tuned.began in tuned.probes
    start, end = tuned.ends
    for weight, between in zip(tuned.model.get_weights(), interpolate(start, end, tuned.chosen.share)):
        np.testing.assert_array_equal(weight, between)


def test_the_start_is_the_probe(tuned):
    """The weights before fine-tuning answer as scikit-learn's regression does on the encoder's features."""
    x, _ = pictures(seed=1)
    kept = tuned.model.get_weights()
    tuned.model.set_weights(tuned.ends[0])
    probabilities = keras.ops.softmax(tuned.model.predict(x, verbose=0))
    features = network().predict(x, verbose=0)
    tuned.model.set_weights(kept)
    np.testing.assert_allclose(probabilities, tuned.probes[tuned.began].predict_proba(features), atol=1e-4)


def test_another_depth_moves_its_part_alone(tuned):
    kept = tuned.model.get_weights()
    for depth, still in ((0.5, 6), (1.0, 0)):  # the first convolution and its BatchNormalization have 6 weights
        start, end = tuned.fit(Setting(depth, 1e-2, 5, 1.0))
        assert [np.array_equal(a, b) for a, b in zip(start, end)] == [True] * still + [False] * (14 - still)
        for a, b in zip(tuned.ends[0], start):
            np.testing.assert_array_equal(a, b)  # each begins where all began
    tuned.model.set_weights(kept)


def test_depths_of_one_cut_are_one_way():
    """Of two layers with a kernel every depth up to a half trains the last: only the first of them is tried."""
    x, y = pictures()
    found = tune(network(), x, y, depths=(0.5, 0.25), shares=(1.0,), **OPTIONS)
    assert found.chosen.depth == 0.5 and found.scores == {}  # nothing to choose


def test_few_examples_choose_nothing():
    x, y = pictures(per_class=2)
    found = tune(network(), x, y, depths=(0.5, 1.0), **OPTIONS)
    assert found.chosen == Setting(0.5, 1e-2, 5, 0.5) and found.scores == {}
    assert set(found.probes) == {"plain"}


def test_the_first_within_a_standard_error_is_preferred():
    """Of 100 answers the best has 80 right; one is behind by 1 (error .017), one by 8 (.027)."""
    best = np.arange(100) < 80
    near, far = best.copy(), best.copy()
    near[:2], near[99], far[:8] = False, True, False
    assert _preferred({0.5: near, 1.0: best, 0.0: far}) == 0.5
    assert _preferred({0.5: far, 1.0: best, 0.0: near}) == 1.0
    assert _preferred({0.5: far, 1.0: near, 0.0: best}) == 1.0


def test_groups_are_held_out_whole():
    """A label is told by the mark of its group alone: of a group never seen it is a guess, of 3 classes."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 4)
    marks = rng.normal(size=(12, 8, 8, 1))[groups]
    y = np.repeat(rng.permutation(np.arange(12) % CLASSES), 4)
    x = (128 + 40 * marks + rng.normal(size=(48, 8, 8, 1))).clip(0, 255).astype("uint8")
    scores = [tune(network(), x, y, groups=given, depths=(1.0,), **OPTIONS).scores for given in (groups, None)]
    apart, together = (next(one for setting, one in of.items() if setting.share == 0) for of in scores)
    assert apart < 0.8 < together


def test_float16_trains_with_a_scaled_loss():
    """Each fit begins with the optimizer as it was made; in zeros the loss would have a scale of 0."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        start, end = tune(network(), *pictures(), depths=(1.0,), **OPTIONS).ends
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(np.isfinite(weights).all() for weights in end)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(start[:2], end[:2]))  # of the first convolution


def test_weights_that_are_not_finite_are_no_result():
    with pytest.raises(ValueError, match="weights after fine-tuning at the rate"):
        tune(network(), *pictures(), depths=(1.0,), **{**OPTIONS, "rates": (1e30,)})


def test_a_fold_that_leaves_no_class_to_learn_from_is_left_out():
    """Groups of both classes: whichever way they are held out, both classes are left, or the fold is."""
    y = np.array([0] * 12 + [1] * 4)
    for folds in (2, 3, 4):
        groups = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 1, 2, 3])
        for fold in _folds(y, groups, folds):
            assert len(fold) > 1 and set(np.delete(y, fold)) == {0, 1}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"y": np.zeros(24, int)}, "at least two classes"),
        ({"y": np.repeat([0, 2], 12)}, "0, 1, ..., each of them there"),
        ({"y": np.zeros(3, int)}, "a label for each"),
        ({"depths": ()}, "at least one of `depths`"),
        ({"shares": (0.0,)}, "above 0"),
        ({"rates": (-1.0,)}, "above 0"),
        ({"steps": (0,)}, "`steps`"),
        ({"folds": 1}, "`folds`"),
        ({"x": tf.data.Dataset.range(3)}, "`x` to be an array"),
    ],
)
def test_bad_input_is_refused(change, message):
    x, y = pictures()
    with pytest.raises(ValueError, match=message):
        tune(network(), **{"x": x, "y": y, **OPTIONS, **change})

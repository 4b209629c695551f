"""U, S, H and AUSUC against counting at each penalty."""

import numpy as np
import pytest

import keras_transfer as kt


def case(rows=300, classes=12, seed=0):
    rng = np.random.default_rng(seed)
    labels, seen = rng.integers(0, classes, rows), np.arange(classes) % 3 > 0
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels] + 0.8 * seen
    return logits, labels, seen


def counted(logits, labels, seen, penalty):
    answers = (logits - penalty * seen).argmax(1)
    by_class = np.array([(answers[labels == c] == c).mean() for c in range(len(seen))])
    s, u = by_class[seen].mean(), by_class[~seen].mean()
    return s, u, 2 * s * u / (s + u)


def test_every_penalty_is_as_counted():
    logits, labels, seen = case()
    curve = kt.metrics.seen_unseen(logits, labels, seen)
    for penalty in (-3.0, 0.0, 0.4, 0.81, 2.0, curve.best):
        found = curve.at(penalty)
        expected = counted(logits, labels, seen, penalty)
        np.testing.assert_allclose([found["seen"], found["unseen"], found["harmonic"]], expected, atol=1e-9)
    grid = [counted(logits, labels, seen, penalty)[2] for penalty in np.linspace(-5, 8, 2000)]
    assert curve.at(curve.best)["harmonic"] >= max(grid) - 1e-9


def test_area_is_that_under_the_counted_curve():
    logits, labels, seen = case()
    points = [counted(logits, labels, seen, penalty)[:2] for penalty in np.linspace(-8, 12, 20000)]
    s, u = np.array(points).T
    assert abs(kt.metrics.seen_unseen(logits, labels, seen).area - np.trapezoid(s, u)) < 1e-3


def test_equal_leads_change_together():
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    curve = kt.metrics.seen_unseen(logits, np.array([0, 1, 1, 0]), np.array([True, False]))
    np.testing.assert_allclose(curve.steps, [-1.0, 0.5, 1.0])
    np.testing.assert_allclose(curve.seen, [1.0, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(curve.unseen, [0.0, 0.5, 0.5, 1.0])


def test_class_accuracy_weighs_classes_alike():
    logits = np.eye(3)[[0, 0, 0, 1, 2]]
    labels = np.array([0, 0, 0, 1, 1])
    assert kt.metrics.class_accuracy(labels, logits) == pytest.approx(0.75)
    assert kt.metrics.class_accuracy(labels, [[3.0, 2.0, 1.0]] * 5, top=2) == 1.0


def test_of_equal_logits_the_first_is_the_answer():
    """A model that says nothing tells one class, not all."""
    labels = np.arange(4)
    assert kt.metrics.class_accuracy(labels, np.zeros((4, 4))) == 0.25
    assert kt.metrics.class_accuracy(labels, np.zeros((4, 4)), top=2) == 0.5
    logits = np.random.default_rng(0).integers(0, 3, (200, 5)).astype("float64")
    labels = np.arange(200) % 5
    expected = np.mean([(logits[labels == c].argmax(1) == c).mean() for c in range(5)])
    assert kt.metrics.class_accuracy(labels, logits) == pytest.approx(expected)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda z, y, s: (z, y, s | True), "rows of seen and of unseen ones; received 12 seen of 12"),
        (lambda z, y, s: (z, y + 5, s), "labels from 0 to 11; received 5 to 16"),
        (lambda z, y, s: (z[:, 0], y, s), "logits .rows, classes."),
        (lambda z, y, s: (z * np.nan, y, s), "received NaN"),
        (lambda z, y, s: (z[s[y]], y[s[y]], s), "rows of seen and of unseen"),
    ],
)
def test_rows_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        kt.metrics.seen_unseen(*change(*case()))

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.losses.contrastive import contrast_rows, positive_means, unit_rows
from tests.gradients import gradient


def views(rows=5, dim=4, seed=0):
    return np.random.default_rng(seed).normal(size=(2, rows, dim)).astype("float32")


def sup_con_by_hand(features, labels, temperature):
    """Row by row and pair by pair in float64, as equation 2 is written."""
    z = np.float64(features) / np.linalg.norm(np.float64(features), axis=1, keepdims=True)
    losses = []
    for i, anchor in enumerate(z):
        others = [j for j in range(len(z)) if j != i]
        denominator = sum(np.exp(anchor @ z[j] / temperature) for j in others)
        positives = [j for j in others if labels[j] == labels[i]]
        terms = [-np.log(np.exp(anchor @ z[j] / temperature) / denominator) for j in positives]
        losses.append(np.mean(terms) if terms else 0.0)
    return np.mean(losses)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("rows", [2, 5])
def test_nt_xent_against_numpy(rows, temperature):
    first, second = views(rows)
    labels = [*range(rows), *range(rows)]
    expected = sup_con_by_hand(np.concatenate([first, second]), labels, temperature)
    np.testing.assert_allclose(kt.losses.nt_xent(first, second, temperature), expected, rtol=1e-5)
    np.testing.assert_allclose(kt.losses.nt_xent(second, first, temperature), expected, rtol=1e-5)


def test_nt_xent_is_log_of_the_number_of_others_where_all_rows_are_equal():
    x = np.ones((6, 3), "float32")
    np.testing.assert_allclose(kt.losses.nt_xent(x, x), np.log(11.0), rtol=1e-6)


def test_views_of_the_same_side_are_negatives():
    """Two examples: the other view at cosine 1, the three negatives' cosines by hand."""
    first = np.float32([[1, 0], [0, 1]])
    expected = -np.log(np.e / (np.e + 2.0))  # of the three others one has cosine 1, two have cosine 0
    np.testing.assert_allclose(kt.losses.nt_xent(first, first, temperature=1.0), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1, 2, 2], [4, 4, 4, 4, 4, 9], [4, 9, 4, 4, 4, 4], [7, -1, 7, 2, -1, 7], [0] * 6]
)
def test_sup_con_against_numpy(labels):
    features = views(6)[0]
    expected = sup_con_by_hand(features, labels, 0.3)
    np.testing.assert_allclose(kt.losses.sup_con(features, np.int32(labels), 0.3), expected, rtol=1e-5)


def test_rows_in_parts_are_the_whole():
    features, labels = unit_rows(views(8)[0]), np.int32([0, 0, 1, 1, 2, 2, 3, 3])
    positives = positive_means(features, labels)
    parts = [np.array(contrast_rows(features, *positives, np.arange(i, i + 4), 0.2)) for i in (0, 4)]
    np.testing.assert_allclose(np.mean(parts), kt.losses.sup_con(features, labels, 0.2), rtol=1e-6)


def test_contract():
    kt.testing.check_loss(kt.losses.nt_xent, None, *views())


def test_errors():
    x = np.ones((4, 3), "float32")
    with pytest.raises(ValueError, match=r"of one shape \(rows, dim\); received shapes \(4, 3\) and \(4, 2\)"):
        kt.losses.nt_xent(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 2 examples to contrast; received 1"):
        kt.losses.nt_xent(x[:1], x[:1])
    with pytest.raises(ValueError, match=r"received shapes \(3,\) and \(3,\)"):
        kt.losses.nt_xent(x[0], x[0])


@pytest.mark.parametrize("loss", [lambda *x: sum(kt.losses.barlow_twins(*x)), lambda *x: sum(kt.losses.vicreg(*x))])
def test_the_other_losses_check_their_views_too(loss):
    with pytest.raises(ValueError, match="at least 2 examples"):
        loss(np.ones((1, 3), "float32"), np.ones((1, 3), "float32"))


def test_negative_cosine_against_numpy():
    first, second = views()
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(np.float64(first), np.float64(second))]
    np.testing.assert_allclose(kt.losses.negative_cosine(first, second), -np.mean(cosines), rtol=1e-5)


def test_negative_cosine_gives_the_target_no_gradient():
    first, second = views()

    def loss(prediction, target, x):
        return kt.losses.negative_cosine(prediction, target) + 0.0 * keras.ops.sum(x)  # so that there is a gradient

    assert np.abs(gradient(lambda x: loss(second, x, x), first)).max() == 0
    assert np.abs(gradient(lambda x: loss(x, second, x), first)).max() > 0
    kt.testing.check_loss(lambda target, x: kt.losses.negative_cosine(x, target), None, first, second)


def test_large_logits_stay_finite():
    first, second = (1000 * x for x in views())
    assert np.isfinite(keras.ops.convert_to_numpy(kt.losses.nt_xent(first, second, temperature=0.001)))

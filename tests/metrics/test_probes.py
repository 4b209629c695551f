import numpy as np
import pytest
from scipy import special
from sklearn import linear_model, model_selection, pipeline, preprocessing

from keras_transfer import metrics


def blobs(rows, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=rows)
    return np.array([[4, 0], [0, 4], [-4, -4]])[labels] + rng.normal(size=(rows, 2)), labels


def test_probes_tell_blobs_apart_and_noise_not():
    train, test = blobs(300, 0), blobs(300, 1)
    assert metrics.knn_accuracy(*train, *test) > 0.95
    assert metrics.linear_accuracy(*train, *test) > 0.95
    noise = np.random.default_rng(2).normal(size=(300, 2))
    assert metrics.knn_accuracy(noise, train[1], *test) < 0.6


def test_neighbours_are_by_cosine_and_at_most_all_rows():
    features, labels = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    assert metrics.knn_accuracy(features, labels, np.array([[100.0, 1.0], [0.01, 1.0]]), labels, k=1) == 1.0
    assert metrics.knn_accuracy(features, labels, features, labels, k=20) == 0.5  # both vote: a tie, the first wins


def test_probe_stops_early_without_a_warning():
    train = blobs(300, 0)
    assert metrics.linear_probe(*train, steps=1).score(*train) > 0.5


def noisy(examples, dim, seed, classes=3):
    rng = np.random.default_rng(seed)
    labels = np.arange(examples) % classes
    return (rng.normal(size=(classes, dim))[labels] * 0.5 + rng.normal(size=(examples, dim))).astype("float32"), labels


@pytest.mark.parametrize(("examples", "dim"), [(30, 90), (90, 6)])
def test_tuned_probe_chooses_as_the_grid_search_of_scikit_learn(examples, dim):
    x, y = noisy(examples, dim, 0)
    grid = model_selection.GridSearchCV(
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1000)),
        {"logisticregression__C": (0.001, 0.01, 0.1)},
        cv=model_selection.StratifiedKFold(5, shuffle=True, random_state=0),
    ).fit(x, y)
    probe, scores = metrics.tuned_probe(x, y, penalties=(0.1, 0.001, 0.01))
    assert list(scores) == [0.001, 0.01, 0.1]
    np.testing.assert_allclose(list(scores.values()), grid.cv_results_["mean_test_score"], atol=1e-6)
    assert probe[-1].C == grid.best_params_["logisticregression__C"] == max(scores, key=scores.get)
    np.testing.assert_allclose(probe.predict_proba(x), grid.predict_proba(x), atol=1e-3)


def test_views_of_an_example_are_held_out_with_it_and_are_not_scored():
    """Labels that say nothing: whoever saw another view of an example in training would tell it right."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 100)), np.arange(40) % 2
    views = np.concatenate([x, x + 0.01 * rng.normal(size=x.shape)])
    _, scores = metrics.tuned_probe(views, np.tile(y, 2), views=2)
    assert max(scores.values()) < 0.8
    _, unknown = metrics.tuned_probe(views, np.tile(y, 2))  # as if they were examples
    assert max(unknown.values()) > 0.85  # 4 of 5 twins are in training; of the others half are right by chance
    apart, y = 10.0 * np.eye(3)[np.arange(30) % 3], np.arange(30) % 3
    _, scores = metrics.tuned_probe(np.concatenate([apart, np.zeros_like(apart)]), y, views=2, penalties=[1.0])
    assert scores == {1.0: 1.0}  # two thirds of the empty views would be wrong


def test_an_example_counts_once_however_many_views_there_are():
    x, y = noisy(60, 4, 0)
    plain, scores = metrics.tuned_probe(x, y)
    tiled, same = metrics.tuned_probe(np.tile(x, (3, 1)), y, views=3)
    assert scores == same
    np.testing.assert_allclose(tiled.predict_proba(x), plain.predict_proba(x), atol=2e-3)


def test_groups_are_held_out_whole():
    """Pictures of forty objects, which differ more than the classes do: only groups tell that nothing was learned."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 2)
    x, y = rng.normal(size=(40, 50))[groups] + 0.01 * rng.normal(size=(80, 50)), groups % 2
    assert max(metrics.tuned_probe(x, y)[1].values()) > 0.8
    assert max(metrics.tuned_probe(x, y, groups=groups)[1].values()) < 0.8
    views = np.tile(x, (2, 1))
    assert metrics.tuned_probe(x, y, groups=groups)[1] == metrics.tuned_probe(views, y, 2, np.tile(groups, 2))[1]


def test_few_examples_make_few_folds_and_one_makes_none():
    x, y = noisy(30, 4, 0)
    two = np.r_[0:6]  # two of each class: each fold has three examples
    _, scores = metrics.tuned_probe(x[two], y[two])
    assert all(round(6 * score, 6).is_integer() for score in scores.values())
    probe, scores = metrics.tuned_probe(np.tile(x[:5], (2, 1)), y[:5], views=2)
    assert scores == {} and probe[-1].C == 0.5


def test_the_strongest_of_equal_penalties_is_taken():
    x = np.repeat([[-1.0], [1.0]], 10, axis=0)
    probe, scores = metrics.tuned_probe(x, np.repeat([0, 1], 10), penalties=(10.0, 0.1, 1.0))
    assert set(scores.values()) == {1.0} and probe[-1].C == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.zeros((5, 2)), "views": 2}, "2 blocks of equally many rows; received 5"),
        ({"labels": [0, 1, 0]}, r"`labels` of shape \(4,\) or \(4,\); received \(3,\)"),
        ({"labels": [0, 1, 1, 0], "views": 2}, "np.tile repeats for each of 2 views"),
        ({"groups": [0, 1, 2]}, r"`groups` of shape"),
        ({"labels": [1, 1, 1, 1]}, r"at least two classes; received \[1\] alone"),
        ({"penalties": (0.0, 1.0)}, r"`penalties` above 0; received 5 and \(0.0, 1.0\)"),
        ({"folds": 1}, "`folds` of at least 2"),
    ],
)
def test_tuned_probe_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.tuned_probe(**{"features": np.zeros((4, 2)), "labels": [0, 1, 0, 1], **arguments})


@pytest.mark.parametrize("classes", [2, 3])
def test_head_answers_as_the_probe_does(classes):
    x, y = noisy(60, 5, 0, classes)
    probe = metrics.linear_probe(x * 2 + 3, y)
    head = metrics.probe_head(probe)
    assert head.name == "logits"
    logits = np.array(head(x * 2 + 3))
    np.testing.assert_allclose(special.softmax(logits, axis=-1), probe.predict_proba(x * 2 + 3), atol=1e-5)


def test_a_probe_of_features_as_they_are():
    """Columns that are not standardised keep their scale: the regression is scikit-learn's on the rows themselves."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 4)) * [9.0, 1.0, 0.1, 0.1] + 3.0).astype("float32")
    y = (x[:, 2] > 3).astype(int) + (x[:, 0] > 5)
    probe, _ = metrics.tuned_probe(x, y, penalties=(0.1,), standardise=False)
    expected = linear_model.LogisticRegression(C=0.1, max_iter=300).fit(x, y).predict_proba(x)
    np.testing.assert_allclose(probe.predict_proba(x), expected, atol=1e-4)
    logits = np.asarray(metrics.probe_head(probe)(x))
    np.testing.assert_allclose(special.softmax(logits, axis=1), probe.predict_proba(x), atol=1e-5)


def test_a_dead_feature_weighs_nothing():
    """A spread of 1e-33, as of a dead unit, is divided by nothing: else a head of it would be infinite."""
    x = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
    x[:, 3] *= 1e-33
    y = np.arange(40) % 3
    for probe in (metrics.tuned_probe(x, y)[0], metrics.linear_probe(x, y)):
        assert np.abs(metrics.probe_head(probe).get_weights()[0]).max() < 100

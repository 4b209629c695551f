"""Probes: how well a simple classifier on frozen features does, fitted by scikit-learn."""

import copy
import warnings

import keras
import numpy as np

from keras_transfer.metrics.scikit_learn import feature_scaler, one_thread, sklearn

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse penalties that `tuned_probe` tries, from strong to weak."""


def knn_accuracy(features, labels, test_features, test_labels, k=20):
    """Returns the accuracy of the vote of the k nearest neighbours by cosine.

    Args:
        features: array `(rows, dim)`.
        labels: integer array `(rows,)`.
        test_features: array `(n, dim)`.
        test_labels: integer array `(n,)`.
        k: int, neighbours; at most all rows vote.

    Returns:
        Float from 0 to 1.
    """
    neighbors = sklearn("neighbors")
    classifier = neighbors.KNeighborsClassifier(min(k, len(features)), metric="cosine", algorithm="brute")
    return float(classifier.fit(_rows(features), labels).score(_rows(test_features), test_labels))


def linear_probe(features, labels, inverse_penalty=1.0, steps=1000):
    """Fits a logistic regression on standardised features.

    Args:
        features: array `(rows, dim)`.
        labels: integer array `(rows,)`.
        inverse_penalty: positive float, the `C` of scikit-learn's logistic regression.
        steps: int, most iterations.

    Returns:
        A fitted scikit-learn classifier.
    """
    scaler = feature_scaler()
    classifier = sklearn("linear_model").LogisticRegression(C=inverse_penalty, max_iter=steps)
    pipeline = sklearn("pipeline").make_pipeline(scaler, classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn("exceptions").ConvergenceWarning)  # `steps` is a limit
        warnings.filterwarnings("ignore", "The number of unique classes")  # few labels are what it is for
        return pipeline.fit(_rows(features), labels)


def linear_accuracy(features, labels, test_features, test_labels, inverse_penalty=1.0, steps=1000):
    """Returns the accuracy of `linear_probe` on other rows.

    Args:
        features: array `(rows, dim)`.
        labels: integer array `(rows,)`.
        test_features: array `(n, dim)`.
        test_labels: integer array `(n,)`.
        inverse_penalty: see `linear_probe`.
        steps: see `linear_probe`.

    Returns:
        Float from 0 to 1.
    """
    probe = linear_probe(features, labels, inverse_penalty, steps)
    return float(probe.score(_rows(test_features), test_labels))


def tuned_probe(features, labels, views=1, groups=None, penalties=PENALTIES, folds=5, steps=300, standardise=True):
    """Fits a logistic regression on standardised features whose penalty is chosen by cross-validation.

    It is the baseline of everything on frozen features. Nothing but the rows given is looked at. Each fold has its
    share of every class; features are standardised by the rows that a fold trains on; all views of an example, and
    all examples of a group, are in one fold; and what is counted is how many examples are told right by their own
    row, not by their views, while they are held out. Of penalties that are equally good the strongest is taken.

    An example counts once, however many views there are of it: a penalty means the same on plain features and on
    views, and `C` of the regression is the inverse penalty divided by `views`.

    With fewer examples of a class (or groups that have it) than `folds` there are as many folds as these. With one
    there is nothing to hold out: the inverse penalty is then 1, and no score is returned.

    Example:

    ```python
    probe, scores = kt.metrics.tuned_probe(features, labels)
    chosen = max(scores, key=scores.get, default=1.0)
    accuracy = probe.score(test_features, test_labels)
    ```

    Args:
        features: array `(views * examples, dim)`: blocks of one row of each example, in the order of `labels`. The
            first block are the examples as they are, each further one is a view of them.
        labels: array `(examples,)` of classes; or `(views * examples,)`, where `np.tile` repeats them.
        views: int, the number of blocks.
        groups: array `(examples,)` of what belongs together, such as pictures of one object, or None. It may be
            repeated as the labels are.
        penalties: positive floats, the inverse penalties that are tried.
        folds: int of at least 2, the most folds.
        steps: int, most iterations of each fit.
        standardise: bool; False for features whose scale means something, such as the tf-idf of words.

    Returns:
        A fitted scikit-learn `Pipeline` of `StandardScaler` and `LogisticRegression`; and a dict of the inverse
        penalties, from strong to weak, to their accuracies on examples held out, from 0 to 1.

    Raises:
        ValueError: if the rows are not `views` blocks of the labels, or labels of fewer than two classes.
    """
    x = _rows(features)
    if views < 1 or len(x) % views:
        raise ValueError(f"Expected `features` of {views} blocks of equally many rows; received {len(x)} rows.")
    examples = len(x) // views
    y = _of_examples("labels", labels, examples, views)
    groups = None if groups is None else _of_examples("groups", groups, examples, views)
    if len(np.unique(y)) < 2:
        raise ValueError(f"Expected `labels` of at least two classes; received {np.unique(y).tolist()} alone.")
    if folds < 2 or not len(penalties) or min(penalties) <= 0:
        raise ValueError(
            f"Expected `folds` of at least 2 and `penalties` above 0; received {folds} and {tuple(penalties)}."
        )
    penalties = sorted(float(one) for one in penalties)

    def fitted(places, penalties):
        """Yields the probe of some examples for each penalty."""
        rows = (np.arange(views)[:, None] * examples + places).ravel()
        return _probes(x[rows], np.tile(y[places], views), [one / views for one in penalties], steps, standardise)

    splits = _splits(y, groups, folds)
    right = np.zeros(len(penalties))
    for train, held_out in splits:
        if len(np.unique(y[train])) > 1:  # groups may leave one class
            right += [np.sum(probe.predict(x[held_out]) == y[held_out]) for probe in fitted(train, penalties)]
    if not splits:
        return next(fitted(np.arange(examples), [1.0])), {}
    best = penalties[int(np.argmax(right))]  # the first, which is the strongest
    probe = next(fitted(np.arange(examples), [best]))
    return probe, {one: float(count) / examples for one, count in zip(penalties, right)}


def probe_head(probe):
    """Returns a probe as a layer on features, for instance to go on from by fine-tuning.

    Args:
        probe: fitted `Pipeline` of `StandardScaler` and `LogisticRegression`, as `tuned_probe` and `linear_probe`
            return it.

    Returns:
        Built `keras.layers.Dense` named `logits`, from features `(batch, dim)` to one logit for each class, in the
        order of `probe.classes_`. Its softmax are the probabilities of the probe; of two classes the first has logit 0.
    """
    scaler, regression = (step for _, step in probe.steps)
    weights, biases = regression.coef_.T, regression.intercept_
    if scaler.with_std:
        weights = weights / scaler.scale_[:, None]
        biases = biases - scaler.mean_ @ weights
    if len(regression.classes_) == 2:  # scikit-learn has one row for the second
        weights, biases = np.pad(weights, ((0, 0), (1, 0))), np.pad(biases, (1, 0))
    head = keras.layers.Dense(weights.shape[1], name="logits")
    head.build((None, len(weights)))
    head.set_weights([weights, biases])
    return head


def _of_examples(name, values, examples, views):
    """What is given for each example, once, after a check that its repetitions agree."""
    values = np.asarray(values)
    if values.shape not in ((examples,), (views * examples,)):
        raise ValueError(f"Expected `{name}` of shape {(examples,)} or {(views * examples,)}; received {values.shape}.")
    if len(values) != examples and (values.reshape(views, examples) != values[:examples]).any():
        raise ValueError(f"Expected `{name}` that np.tile repeats for each of {views} views; received others.")
    return values[:examples]


def _splits(labels, groups, folds):
    """Pairs of places to train on and to hold out; none where a class has one example or one group."""
    own = np.arange(len(labels)) if groups is None else groups
    folds = min(folds, *(len(np.unique(own[labels == label])) for label in np.unique(labels)))
    if folds < 2:
        return []
    selection = sklearn("model_selection")
    kind = selection.StratifiedKFold if groups is None else selection.StratifiedGroupKFold
    return list(kind(folds, shuffle=True, random_state=0).split(labels, labels, groups))


def _probes(x, y, penalties, steps, standardise):
    """Yields the probe for each penalty, strong ones first, each fit beginning where the one before ended.

    With fewer rows than columns the regression is fitted on coordinates in the span of the rows, in which its
    solution lies, since the penalty is the norm of the weights: the result is the same, and takes less time.
    """
    scaler = feature_scaler(with_mean=standardise, with_std=standardise).fit(x)
    x, basis = scaler.transform(x), None
    if len(x) < x.shape[1]:
        with one_thread():
            basis, x = np.linalg.qr(x.T)
        x = np.ascontiguousarray(x.T)
    regression = sklearn("linear_model").LogisticRegression(max_iter=steps, warm_start=True)
    for penalty in penalties:
        with warnings.catch_warnings(), one_thread():  # many tiny products
            warnings.simplefilter("ignore", sklearn("exceptions").ConvergenceWarning)  # `steps` is a limit
            warnings.filterwarnings("ignore", "The number of unique classes")  # few labels are what it is for
            regression.set_params(C=penalty).fit(x, y)
        result = copy.deepcopy(regression)
        if basis is not None:
            result.coef_, result.n_features_in_ = regression.coef_ @ basis.T, len(basis)
        yield sklearn("pipeline").Pipeline([("scaler", scaler), ("regression", result)])


def _rows(features):
    return np.asarray(features, "float32").reshape(len(features), -1)

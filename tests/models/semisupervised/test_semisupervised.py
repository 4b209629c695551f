"""Semi-supervised methods: what has a gradient, what moves without one, thresholds by hand, mixtures, and a gain."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests import contract, oracles


def batch(seed=0, rows=6, many=12):
    rng = np.random.default_rng(seed)
    x = {"labelled": rng.normal(size=(rows, 8)), "unlabelled_weak": rng.normal(size=(many, 8))}
    x["unlabelled_strong"] = x["unlabelled_weak"] + 0.3 * rng.normal(size=(many, 8))
    return {name: part.astype("float32") for name, part in x.items()}, (np.arange(rows) % 3).astype("int32")


def normalised():
    layers = [keras.layers.Dense(16), keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]
    return keras.Sequential([keras.Input((8,)), *layers])


def compiled(model, **more):
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True), **more)
    return model


def test_the_consistency_of_fixmatch_has_the_gradient_of_the_strong_view_alone(record):
    """By hand: softmax less one-hot on the sure rows, through two linear layers."""
    keras.utils.set_random_seed(0)
    linear = [keras.Sequential([keras.Input((n,)), keras.layers.Dense(m, use_bias=False)]) for n, m in ((8, 5), (5, 3))]
    model = compiled(kt.models.FixMatch(*linear, sure_enough=0.4, average=None))
    x, y = batch()
    with tf.GradientTape() as tape:
        loss = model.loss_terms(x, y, model(x, training=True))["consistency"]
    found = tape.gradient(loss, [part.trainable_variables[0].value for part in linear])
    first, second = (part.get_weights()[0].astype("float64") for part in linear)
    weak, strong = (oracles.softmax(x[f"unlabelled_{view}"] @ first @ second) for view in ("weak", "strong"))
    sure = (weak.max(-1) >= 0.4)[:, None]
    assert 0 < sure.mean() < 1
    slope = sure * (strong - np.eye(3)[weak.argmax(-1)]) / len(weak)
    hidden = x["unlabelled_strong"] @ first
    expected = x["unlabelled_strong"].T @ (slope @ second.T), hidden.T @ slope
    differences = [float(np.abs(found[i] - expected[i]).max()) for i in range(2)]
    record("semi_supervised", {"consistency_gradient_from_numpy": max(differences)})
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["MeanTeacher", "FixMatch"])
def test_followers_are_the_average_and_have_the_statistics_that_are_stated(name, record):
    keras.utils.set_random_seed(0)
    more = {"momentum": 0.8} if name == "MeanTeacher" else {"average": 0.8}
    model = compiled(getattr(kt.models, name)(normalised(), contract.head(), **more))
    own = [*model.encoder.weights, *model.head.weights]
    average = [w.numpy().astype("float64") for w in own]
    trains = {id(w) for w in model.trainable_weights}
    for seed in range(4):
        before = [w.numpy() for w in own]  # what a step began with
        model.train_on_batch(*batch(seed))
        average = [0.8 * a + 0.2 * b if id(w) in trains else None for a, b, w in zip(average, before, own)]
    followers = [w.numpy() for network in model.served for w in network.weights]
    assert sum(a is None for a in average) == 2
    apart = max(float(np.abs(f - a).max()) for a, f in zip(average, followers) if a is not None)
    record("semi_supervised", {f"{name}_follower_from_numpy": apart})
    for a, w, f in zip(average, own, followers):
        if a is not None:
            np.testing.assert_allclose(f, a, atol=1e-6)
        elif name == "FixMatch":
            np.testing.assert_array_equal(f, w.numpy())
        else:
            assert np.abs(f - w.numpy()).max() > 1e-3  # its own passes


def test_a_mean_teacher_draws_its_student():
    """Its consistency has a gradient by the student, and none by the teacher."""
    keras.utils.set_random_seed(0)
    model = compiled(kt.models.MeanTeacher(contract.encoder(), contract.head()))
    x, y = batch()
    with tf.GradientTape(persistent=True) as tape:
        for network in model.served:
            tape.watch([w.value for w in network.weights])
        loss = model.loss_terms(x, y, model(x, training=True))["consistency"]
    student = tape.gradient(loss, [w.value for w in model.trainable_variables])
    teacher = tape.gradient(loss, [w.value for network in model.served for w in network.weights])
    assert all(np.abs(g).max() > 0 for g in student) and all(g is None for g in teacher)


def test_flexible_thresholds_by_hand():
    keras.utils.set_random_seed(0)
    model = compiled(
        kt.models.FixMatch(contract.encoder(), contract.head(), sure_enough=0.5, threshold="flex", rows=20)
    )
    x, y = batch()
    x["unlabelled_rows"] = np.arange(3, 15, dtype="int32")
    p = oracles.softmax(np.asarray(model.head(model.encoder(x["unlabelled_weak"]))))
    model.train_on_batch(x, y)
    last = np.full(20, -1)
    last[3:15] = np.where(p.max(-1) >= 0.5, p.argmax(-1), -1)
    np.testing.assert_array_equal(model.last_sure.numpy(), last)
    known = np.array([(last == c).sum() for c in range(3)])
    learned = known / max(known.max(), 20 - known.sum())
    np.testing.assert_allclose(model.thresholds(3), 0.5 * learned / (2 - learned), atol=1e-6)


@pytest.mark.parametrize("form", ["numbers", "column", "shares"])
def test_free_thresholds_and_alignment_by_hand(form):
    keras.utils.set_random_seed(0)
    model = compiled(
        kt.models.FixMatch(contract.encoder(), contract.head(), threshold="free", alignment=True, momentum=0.6)
    )
    x, y = batch()
    p = oracles.softmax(np.asarray(model.head(model.encoder(x["unlabelled_weak"]))))
    if form == "shares":
        model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.train_on_batch(x, {"numbers": y, "column": y[:, None], "shares": np.eye(3, dtype="float32")[y]}[form])
    confidence, mean = 0.6 / 3 + 0.4 * p.max(-1).mean(), 0.6 / 3 + 0.4 * p.mean(0)
    np.testing.assert_allclose(model.thresholds(3), confidence * mean / mean.max(), rtol=1e-5)
    np.testing.assert_allclose(model.predicted_shares, mean, rtol=1e-5)
    np.testing.assert_allclose(model.labelled_shares, 0.6 / 3 + 0.4 * np.bincount(y) / len(y), rtol=1e-5)


def test_mixmatch_by_hand(monkeypatch):
    """The draws are those of the model; all else is NumPy's."""
    keras.utils.set_random_seed(0)
    model = compiled(kt.models.MixMatch(contract.encoder(), contract.head(), guess_weight=3.0), run_eagerly=True)
    x, y = batch()
    seen = {}
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, **k: seen.setdefault("outputs", forward(*a, **k)))
    classify = lambda rows: np.asarray(model.head(model.encoder(np.asarray(rows, "float32")))).astype("float64")  # noqa: E731
    q = 0.5 * sum(oracles.softmax(classify(x[f"unlabelled_{view}"])) for view in ("weak", "strong"))
    q = q**2 / (q**2).sum(-1, keepdims=True)
    weights = model.get_weights()
    logs = model.train_on_batch(x, y, return_dict=True)
    share, order = (np.asarray(seen["outputs"][name]) for name in ("share", "order"))
    assert share.min() >= 0.5 and sorted(order) == list(range(30))
    model.set_weights(weights)
    rows = np.concatenate([x["labelled"], x["unlabelled_weak"], x["unlabelled_strong"]])
    labels = np.concatenate([np.eye(3)[y], q, q])
    mixed, soft = (share[:, None] * part + (1 - share[:, None]) * part[order] for part in (rows, labels))
    p = oracles.softmax(classify(mixed))
    np.testing.assert_allclose(logs["task_term"], -(soft[:6] * np.log(p[:6])).sum(-1).mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["guess_term"], ((p[6:] - soft[6:]) ** 2).mean(), rtol=1e-4)


# A world of two moons: three labels of each, and many rows without.


def moons(seed=0, rows=600):
    rng = np.random.default_rng(seed)
    y, angle = np.arange(rows) % 2, np.pi * rng.random(rows)
    x = np.stack([np.cos(angle) * (1 - 2 * y) + y, np.sin(angle) * (1 - 2 * y) + 0.4 * y], 1)
    return (x + 0.08 * rng.normal(size=x.shape)).astype("float32"), y.astype("int32")


def near(x):
    return x + tf.random.normal(tf.shape(x), stddev=0.05)


def far(x):
    return x + tf.random.normal(tf.shape(x), stddev=0.15)


def test_unlabelled_rows_help():
    (x, y), (x_test, y_test) = moons(), moons(1)
    few = np.array([0, 2, 4, 1, 3, 5])
    many = np.delete(x, few, 0)
    scores = {}
    for name in ("twin", "FixMatch"):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(32, "relu") for _ in range(2))])
        head = keras.Sequential([keras.Input((32,)), keras.layers.Dense(2)])
        stream = kt.streams.labelled_and_unlabelled(
            (x[few], y[few]), many, near, far, batch_size=6, ratio=10, steps=100, seed=0
        )
        if name == "twin":
            model, stream = keras.Sequential([encoder, head]), stream.map(lambda x, y: (x["labelled"], y))
        else:
            model = kt.models.FixMatch(encoder, head, sure_enough=0.9)
        model.compile(keras.optimizers.Adam(0.005), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(stream, epochs=4, shuffle=False, verbose=0)
        scores[name] = (model.predict(x_test, verbose=0).argmax(-1) == y_test).mean()
    assert scores["FixMatch"] > scores["twin"] + 0.02


def test_averages_that_cannot_follow_are_warned_of():
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(momentum=0.99)]
    encoder, head = (
        keras.Sequential([keras.Input((8,)), *layers]),
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]),
    )
    model = compiled(kt.models.PseudoLabel(encoder, head))
    x, y = batch(rows=30)
    stream = kt.streams.labelled_and_unlabelled((x["labelled"], y), x["unlabelled_weak"], batch_size=3, steps=5)
    with pytest.warns(UserWarning, match="within 5 steps; received a momentum of 0.99, which keeps 95 %"):
        model.fit(stream, epochs=1, shuffle=False, verbose=0)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"threshold": "flex"}, "`rows` with the threshold 'flex' and no other; received None, 'flex'"),
        ({"rows": 3}, "`rows` with the threshold 'flex' and no other; received 3, 'fixed'"),
        ({"average": 1.0}, "`average` to be .* below 1"),
        ({"head": keras.layers.Dense(3)}, "a built head"),
    ],
)
def test_fixmatch_that_is_none(more, message):
    with pytest.raises(ValueError, match=message):
        kt.models.FixMatch(**{"encoder": contract.encoder(), "head": contract.head(), **more})


# Phases.


class Told:
    """A teacher that says what it is given."""

    def __init__(self, logits):
        self.logits = logits

    def predict(self, x, **_):
        return self.logits[np.asarray(x)[:, 0].astype(int)]


def test_noisy_student_by_hand():
    logits = np.array([[4.0, 0.0], [0.0, 3.0], [5.0, 0.0], [0.1, 0.0], [2.0, 0.0], [0.0, 6.0]])
    unlabelled, given = np.arange(6)[:, None], []

    def train(phase, x, y):
        given.append((phase, x, y))
        return Told(-logits)

    labelled = (np.array([[10], [11]]), np.array([0, 1]))
    students = kt.models.noisy_student(Told(logits), train, labelled, unlabelled, rounds=2, threshold=0.8)
    assert len(students) == 2 and [phase for phase, *_ in given] == [0, 1]
    _, x, y = given[0]  # classes of 3 and 2 sure rows: 2 of each, the surest first
    assert x[:, 0].tolist() == [10, 11, 2, 0, 5, 1]
    np.testing.assert_allclose(y[2:], oracles.softmax(logits[[2, 0, 5, 1]]), rtol=1e-5)
    assert given[1][1][:, 0].tolist() == [10, 11, 5, 1, 2, 0]
    with pytest.raises(ValueError, match="sure of some rows; received one whose largest probability is 1.00"):
        kt.models.noisy_student(Told(logits), train, labelled, unlabelled, threshold=0.9999)
    softmax = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    with pytest.raises(ValueError, match="Expected `teacher` to return logits"):
        kt.models.noisy_student(softmax, train, labelled, unlabelled)
    with pytest.raises(ValueError, match="Expected `student` to return logits"):
        kt.models.noisy_student(Told(logits), lambda *_: softmax, labelled, unlabelled)
    with pytest.raises(ValueError, match="labels of all 2 classes; received .0."):
        kt.models.noisy_student(Told(logits), train, (labelled[0], np.zeros(2, int)), unlabelled)

"""Zero-shot: closed forms by other means, classes by hand, what is refused, and unseen classes that are told."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import contract, oracles


def described(**more):
    return kt.models.LabelDescriptions(contract.encoder(), {"a": [[1.0] * 8, [0.9] * 8], "b": [[-1.0] * 8], **more})


def test_label_descriptions_by_hand():
    keras.utils.set_random_seed(0)
    model = described()
    x = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")
    rows = [oracles.unit(np.asarray(model.encoder(np.float32(v)))).mean(0) for v in model.descriptions.values()]
    expected = oracles.unit(np.asarray(model.encoder(x))) @ oracles.unit(np.stack(rows)).T / 0.05
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-4)


def test_calibration_needs_no_label():
    keras.utils.set_random_seed(0)
    model = kt.models.LabelDescriptions(
        contract.encoder(), {"a": [[1.0] * 8, [0.9] * 8], "b": [[-1.0] * 8, [-1.0, -0.8] * 4]}
    )
    x = np.random.default_rng(0).normal(size=(200, 8)).astype("float32")
    found = model.calibrate(x, prior=[0.2, 0.8], known=0.9)
    logits = model.predict(x, verbose=0)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose((p / p.sum(-1, keepdims=True)).mean(0), [0.2, 0.8], atol=0.02)
    assert found["temperature"] < 0.5  # the descriptions are told well
    similar = model.signatures(x)["serving_default"].answer({"images": x})["similarity"]
    assert abs((np.asarray(similar).max(1) < found["least_similarity"]).mean() - 0.1) < 0.02
    model.calibrate(x)
    np.testing.assert_array_equal(model.bias, np.zeros(2))
    with pytest.raises(ValueError, match="Expected inputs `x` for a `prior`"):
        model.calibrate(prior=[0.5, 0.5])
    with pytest.raises(ValueError, match="a `prior` of 2 positive shares that sum to 1"):
        model.calibrate(x, prior=[0.5, 0.6])


def test_more_classes():
    model = described()
    grown = model.grow({"c": [[1.0, -1.0] * 4]})
    x = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")
    np.testing.assert_allclose(grown.predict(x, verbose=0)[:, :2], model.predict(x, verbose=0), atol=1e-5)
    assert list(grown.descriptions) == ["a", "b", "c"] and grown.predict(x, verbose=0).shape == (5, 3)
    with pytest.raises(ValueError, match="further classes; received b again"):
        model.grow({"b": [[0.0] * 8]})
    model.encoder.set_weights([w + 0.5 for w in model.encoder.get_weights()])  # it has trained since
    grown = model.grow({"c": [[1.0, -1.0] * 4]})
    np.testing.assert_allclose(grown.predict(x, verbose=0)[:, :2], model.predict(x, verbose=0), atol=1e-5)


def test_a_loaded_model_is_calibrated_as_the_one_that_was_saved(tmp_path):
    """Its descriptions are embedded by the weights in the file, not by those that it was made with."""
    keras.utils.set_random_seed(0)
    model = kt.models.LabelDescriptions(
        contract.encoder(), {"a": [[1.0] * 8, [0.9, 0.1] * 4], "b": [[-1.0] * 8, [-1.0, 0.8] * 4]}
    )
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.calibrate() == model.calibrate()


def test_labels_tune_the_encoder_and_leave_the_classes(tmp_path):
    keras.utils.set_random_seed(0)
    model = contract.compiled(described(), keras.optimizers.Adam(0.01))
    x = np.random.default_rng(0).normal(size=(60, 8)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    matrix = model.class_matrix.numpy()
    accuracies = model.fit(x, y, epochs=30, verbose=0).history["accuracy"]
    assert accuracies[-1] > 0.9 > accuracies[0]
    np.testing.assert_array_equal(model.class_matrix, matrix)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    "descriptions, message",
    [
        ({"a": ["x"]}, "at least two classes"),
        ({"a": "a text", "b": ["x"]}, "a list of descriptions of the class 'a'; received 'a text'"),
        ({"a": [[1.0] * 8], "b": []}, "a list of descriptions of the class 'b'"),
        ({"a": [[1.0] * 8], "b": [[1.0] * 8]}, "received the same of 'a' and 'b'"),
        ({"a": [[1.0] * 8], "b": [" "]}, "of the class 'b' that say something; received an empty one"),
        ({"a": [[1.0] * 8], "b": [[1.0] * 7]}, "all vectors of one width"),
    ],
)
def test_descriptions_that_are_none(descriptions, message):
    with pytest.raises(ValueError, match=message):
        kt.models.LabelDescriptions(contract.encoder(), descriptions)


# Attributes.


def world(classes=30, seen=24, seed=0, rows=500, noise=0.3):
    """A linear world: features are what attributes make of them; a label from `seen` on is of an unseen class."""
    rng = np.random.default_rng(seed)
    attributes, mix = 3.0 * oracles.unit(rng.normal(size=(classes, 10))), rng.normal(size=(10, 20))
    y, y_unseen = rng.integers(0, seen, rows), rng.integers(seen, classes, 200)
    x, x_unseen = (attributes[one] @ mix + noise * rng.normal(size=(len(one), 20)) for one in (y, y_unseen))
    described = {f"class {c}": row for c, row in enumerate(attributes.astype("float32"))}
    return (x.astype("float32"), y), (x_unseen.astype("float32"), y_unseen), described


def test_eszsl_is_the_solution_of_its_equation(record):
    (x, y), _, described = world()
    model = kt.models.ESZSL.solve(x, y, described, feature_penalties=[0.1], class_penalties=[0.01])
    xs, s = x.astype("float64"), np.stack(list(described.values()))[:24].astype("float64")
    truth = np.where(y[:, None] == np.arange(24), 1.0, -1.0)
    gram, classes = xs.T @ xs, s.T @ s
    left = gram + 0.1 * np.trace(gram) / 20 * np.eye(20)
    right = classes + 0.01 * np.trace(classes) / 10 * np.eye(10)
    expected = np.linalg.inv(left) @ xs.T @ truth @ s @ np.linalg.inv(right)
    found, largest = model.projector.get_weights()[0], np.abs(expected).max()
    record("zero_shot", {"eszsl_from_numpy": float(np.abs(found - expected).max() / largest)})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * largest)


def test_sae_solves_its_sylvester_equation():
    from scipy.linalg import solve_sylvester

    (x, y), _, described = world()
    model = kt.models.SAE.solve(x, y, described, penalties=[0.5])
    xs, s = x.astype("float64"), oracles.unit(np.stack(list(described.values())).astype("float64"))[y]
    weight = 0.5 * (np.trace(s.T @ s) / 10) / (np.trace(xs.T @ xs) / 20)
    expected = solve_sylvester(s.T @ s, weight * xs.T @ xs, (1 + weight) * s.T @ xs)
    np.testing.assert_allclose(model.projector.get_weights()[0], expected.T, rtol=1e-3, atol=1e-4)


def test_penalties_are_those_that_tell_held_out_classes_best():
    """The choice by hand: every pair, every part of the classes, with the plain inverse."""
    (x, y), _, described = world(noise=2.0)
    grid, s = (1e-3, 1.0, 1e3), np.stack(list(described.values())).astype("float64")[:24]
    scores = {}
    for held in np.array_split(np.random.default_rng(0).permutation(24), 5):
        rest, rows = np.setdiff1d(np.arange(24), held), np.isin(y, held)
        inside, gram, classes = x[~rows].astype("float64"), None, s[rest].T @ s[rest]
        gram = inside.T @ inside
        truth = np.where(y[~rows][:, None] == rest, 1.0, -1.0)
        for g in grid:
            for l in grid:  # noqa: E741
                left = gram + g * np.trace(gram) / 20 * np.eye(20)
                right = classes + l * np.trace(classes) / 10 * np.eye(10)
                found = x[rows] @ (np.linalg.inv(left) @ inside.T @ truth @ s[rest] @ np.linalg.inv(right)) @ s[held].T
                told = held[found.argmax(1)] == y[rows]
                by_class = [told[y[rows] == c].mean() for c in held if (y[rows] == c).any()]
                scores[g, l] = scores.get((g, l), 0.0) + np.mean(by_class)
    best = max(scores, key=scores.get)
    chosen = kt.models.ESZSL.solve(x, y, described, feature_penalties=grid, class_penalties=grid)
    alone = kt.models.ESZSL.solve(x, y, described, feature_penalties=best[:1], class_penalties=best[1:])
    np.testing.assert_allclose(chosen.projector.get_weights()[0], alone.projector.get_weights()[0], rtol=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "DeViSE", "SJE", "ALE"])
def test_unseen_classes_are_told_by_their_attributes(loss):
    keras.utils.set_random_seed(0)
    (x, y), (x_unseen, y_unseen), described = world()
    encoder = keras.Sequential([keras.Input((20,)), keras.layers.Identity()])
    seen = [f"class {c}" for c in range(24)]
    model = kt.models.BilinearCompatibility(encoder, keras.layers.Dense(10, use_bias=False), described, seen)
    softmax = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), softmax if loss == "softmax" else getattr(kt.losses, loss)())
    model.fit(x, y, epochs=10, verbose=0)
    logits = model.predict(x_unseen, verbose=0)
    assert kt.metrics.class_accuracy(y_unseen - 24, logits[:, 24:]) > 0.8
    with pytest.raises(ValueError, match="the 24 classes in `seen` to train on; received some of unseen"):
        model.fit(x_unseen, y_unseen, verbose=0)
    with pytest.raises(ValueError, match="the 24 classes in `seen` to train on; received some of unseen"):
        model.fit(x_unseen, y_unseen[:, None], verbose=0)
    model.evaluate(x_unseen, y_unseen, verbose=0)
    everything = np.concatenate([model.predict(x, verbose=0), logits]), np.concatenate([y, y_unseen])
    curve = kt.metrics.seen_unseen(*everything, np.arange(30) < 24)
    model.calibrate(penalty=curve.best)
    by_model = [kt.metrics.class_accuracy(b, model.predict(a, verbose=0)) for a, b in ((x, y), (x_unseen, y_unseen))]
    at = curve.at(curve.best)
    np.testing.assert_allclose(by_model, [at["seen"], at["unseen"]], atol=1e-6)


@pytest.mark.parametrize("centred", [False, True])
def test_what_no_seen_class_has_tells_nothing(centred):
    """An attribute of one unseen class alone: the numbers that were drawn for it must not speak for that class."""
    (x, y), (x_unseen, y_unseen), described = world()
    seen = [f"class {c}" for c in range(24)]
    alone = {name: np.append(row, 1.0 * (name == "class 29")) for name, row in described.items()}
    logits = []
    for said in (described, alone):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((20,)), keras.layers.Identity()])
        dim = len(said["class 0"])
        start = np.random.default_rng(0).normal(size=(20, 11))
        dense = keras.layers.Dense(dim, use_bias=False)
        model = kt.models.BilinearCompatibility(encoder, dense, said, seen, centred=centred)
        dense.set_weights([start[:, :dim]])
        contract.compiled(model).fit(x, y, epochs=1, shuffle=False, verbose=0)
        logits.append(model.predict(x_unseen, verbose=0))
    np.testing.assert_allclose(*logits, atol=1e-5)
    grown = model.grow({"more": np.append(described["class 0"], 1.0)})
    np.testing.assert_allclose(grown.predict(x_unseen, verbose=0)[:, :30], logits[1], atol=1e-5)


def test_unseen_classes_in_columns_are_refused():
    (x, y), (x_unseen, y_unseen), described = world()
    encoder = keras.Sequential([keras.Input((20,)), keras.layers.Identity()])
    seen = [f"class {c}" for c in range(24)]
    model = kt.models.BilinearCompatibility(encoder, keras.layers.Dense(10), described, seen)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(x, np.eye(30)[y], verbose=0)
    with pytest.raises(ValueError, match="received some of unseen classes: class 2"):
        model.fit(x_unseen, np.eye(30)[y_unseen], verbose=0)


def test_unseen_classes_have_no_part_in_training():
    """Their descriptions change nothing of what is trained."""
    (x, y), _, described = world()
    seen, weights = [f"class {c}" for c in range(24)], []
    for scale in (1.0, 50.0):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((20,)), keras.layers.Dense(12)])
        said = {name: row if name in seen else scale * row for name, row in described.items()}
        dense = keras.layers.Dense(10, use_bias=False)
        model = contract.compiled(kt.models.BilinearCompatibility(encoder, dense, said, seen, centred=True))
        model.fit(x, y, epochs=1, verbose=0)
        weights.append(dense.get_weights()[0])
    np.testing.assert_array_equal(*weights)


def test_a_gate_makes_probabilities_of_both_sides():
    (x, y), (x_unseen, y_unseen), described = world()
    model = kt.models.ESZSL.solve(x, y, described, feature_penalties=[0.1], class_penalties=[0.1])
    logits = model.predict(np.concatenate([x, x_unseen]), verbose=0)
    labels, seen = np.concatenate([y, y_unseen]), np.arange(30) < 24
    gate = kt.metrics.seen_gate(logits, labels, seen)
    model.calibrate(gate=gate)
    found = model.predict(np.concatenate([x, x_unseen]), verbose=0)
    p = oracles.softmax(logits[:, seen])
    columns = [np.ones(len(p)), logits[:, seen].max(1), logits[:, ~seen].max(1), oracles.entropy(p)]
    is_seen = 1 / (1 + np.exp(-np.stack(columns, 1) @ gate))
    np.testing.assert_allclose(np.exp(found[:, seen]), is_seen[:, None] * p, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(1), 1.0, rtol=1e-4)
    told = [((is_seen > 0.5) == side)[seen[labels] == side].mean() for side in (True, False)]
    assert min(told) > 0.6


@pytest.mark.parametrize("name", ["plain", "pairwise", "chunks"])
def test_dual_encoders_tell_unseen_classes(name):
    keras.utils.set_random_seed(0)
    (x, y), (x_unseen, y_unseen), described = world()
    towers = [keras.Sequential([keras.Input((n,)), keras.layers.Dense(16)]) for n in (20, 10)]
    more = {"plain": {}, "pairwise": {"pairwise": True}, "chunks": {"chunk_size": 8}}[name]
    model = kt.models.DualEncoder(*towers, **more)
    model.compile(keras.optimizers.Adam(0.01))
    said = [[row] for row in described.values()]
    model.fit(kt.streams.described(x, said, y, batch_size=16, seed=0), epochs=15, shuffle=False, verbose=0)
    seen = [f"class {c}" for c in range(24)]
    classes = kt.models.LabelDescriptions.from_source(model, {name: [row] for name, row in described.items()}, seen)
    assert kt.metrics.class_accuracy(y_unseen - 24, classes.predict(x_unseen, verbose=0)[:, 24:]) > 0.8


def test_a_locked_tower_stays_and_chunks_change_no_gradient():
    weights = []
    for chunk_size in (None, 4):
        keras.utils.set_random_seed(0)
        towers = [keras.Sequential([keras.Input((n,)), keras.layers.Dense(6, "tanh")]) for n in (20, 10)]
        towers[1].layers[0].trainable = False
        locked = towers[1].get_weights()[0]
        model = kt.models.DualEncoder(*towers, chunk_size=chunk_size)
        model.compile("sgd")
        rng = np.random.default_rng(0)
        batch = {"image": rng.normal(size=(8, 20)), "description": rng.normal(size=(8, 10))}
        model.train_on_batch({name: part.astype("float32") for name, part in batch.items()})
        np.testing.assert_array_equal(towers[1].get_weights()[0], locked)
        weights.append([*towers[0].get_weights(), model.log_scale.numpy()])
    for one, other in zip(*weights):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_other_models_are_no_dual_encoder():
    with pytest.raises(ValueError, match="Expected a trained `DualEncoder`; received BilinearCompatibility"):
        kt.models.LabelDescriptions.from_source(bilinear(), {"a": [[1.0, 0.0]], "b": [[0.0, 1.0]]})


def bilinear(**more):
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    said = {"a": [1, 0], "b": [0, 1], "c": [1, 1]}
    return kt.models.BilinearCompatibility(
        **{"encoder": encoder, "projector": keras.layers.Dense(2), "descriptions": said, **more}
    )


@pytest.mark.parametrize(
    "more, message",
    [
        ({"projector": keras.layers.Dense(3)}, "features of 2 numbers, as the descriptions have; received 3"),
        ({"descriptions": {"a": [1, 0], "b": [0, 0]}}, "zeros alone for b"),
        ({"descriptions": {"a": [1, 0], "b": [0, 1, 1]}}, "all vectors of one width"),
        ({"descriptions": {"a": [1, 0], "b": [1, 0]}}, "the same of 'a' and 'b'"),
        ({"descriptions": {"a": [1, 0], "b": [np.nan, 1]}}, "descriptions"),
        ({"descriptions": {"a": ["x"], "b": ["y"]}}, "vectors .dim,. where there is no `describer`; received 'x'"),
        ({"seen": ["a"]}, "at least two names of classes"),
        ({"seen": ["a", "z"]}, "`seen`; received .'z'."),
    ],
)
def test_bilinear_that_is_none(more, message):
    with pytest.raises(ValueError, match=message):
        bilinear(**more)


def test_calibrations_that_are_none():
    with pytest.raises(ValueError, match="classes that are not seen for a `penalty` or a `gate`"):
        bilinear().calibrate(penalty=1.0)
    with pytest.raises(ValueError, match="a `gate` of 4 finite numbers"):
        bilinear(seen=["a", "b"]).calibrate(gate=[1.0])


@pytest.mark.parametrize(
    "y, message",
    [
        (np.full(500, 30), "integer labels .rows,. from 0 to 29.* up to 30"),
        (np.zeros(500), "integer labels .rows,. from 0 to 29"),
        (np.zeros(500, int) + np.arange(500) % 5, "at least 10 seen classes to choose penalties on 5 parts"),
    ],
)
def test_solutions_that_are_none(y, message):
    (x, _), _, described = world()
    with pytest.raises(ValueError, match=message):
        kt.models.ESZSL.solve(x, y, described)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda x: x[:, None],
            "an array of features .rows, features. without an `encoder`; received shape .500, 1",
        ),
        (lambda x: x.tolist(), "without an `encoder`; received list"),
        (lambda x: 0 * x, "features that say something; received zeros alone"),
        (lambda x: x[1:], "a label for each of 499 rows; received 500"),
    ],
)
def test_features_that_are_none(change, message):
    (x, y), _, described = world()
    with pytest.raises(ValueError, match=message):
        kt.models.ESZSL.solve(change(x), y, described)

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt


def data(classes=6, rows=8, shuffle=True):
    """Rows that carry their class and their own number."""
    labels = np.repeat(10 * np.arange(classes) + 3, rows)  # any integers
    x = np.stack([labels, np.arange(len(labels))], 1).astype("float32")
    order = np.random.default_rng(0).permutation(len(labels)) if shuffle else np.arange(len(labels))
    return x[order], labels[order]


def episodes(x, labels, ways=3, shots=2, queries=4, **kwargs):
    return kt.streams.episodes(x, labels, ways, shots, queries, **{"seed": 0, **kwargs})


def check(x, y, ways, shots, queries):
    """Every episode is what it says: distinct classes, numbered anew, and no row twice."""
    (support, labels), query = x["support"], x["query"]
    assert labels.dtype == y.dtype == "int32"
    for s, s_labels, q, q_labels in zip(support, labels, query, y, strict=True):
        np.testing.assert_array_equal(np.bincount(s_labels), [shots] * ways)
        np.testing.assert_array_equal(np.bincount(q_labels), [queries] * ways)
        classes = {(int(number), int(row[0])) for number, row in zip([*s_labels, *q_labels], [*s, *q])}
        assert len(classes) == len({number for number, _ in classes}) == len({label for _, label in classes}) == ways
        assert len({int(row[1]) for row in [*s, *q]}) == ways * (shots + queries)


@pytest.mark.parametrize("ways, shots, queries", [(3, 2, 4), (6, 1, 7), (2, 3, 1)])
def test_classes_and_rows_are_drawn_without_replacement(ways, shots, queries):
    stream = episodes(*data(), ways, shots, queries, episodes_per_batch=5, batches=20)
    assert len(stream) == 20
    for x, y in stream.as_numpy_iterator():
        assert x["support"][0].shape == (5, ways * shots, 2) and x["query"].shape == (5, ways * queries, 2)
        check(x, y, ways, shots, queries)


def test_every_class_and_row_has_its_chance():
    """Of 6 classes with 4 to 9 rows, each class stands in half the episodes, and each row of a class as often."""
    labels = np.concatenate([np.full(4 + c, c) for c in range(6)])
    x = np.stack([labels, np.arange(len(labels))], 1).astype("float32")
    stream = episodes(x, labels, 3, 1, 3, episodes_per_batch=100, batches=30)
    support = np.concatenate([x["support"][0] for x, _ in stream.as_numpy_iterator()]).reshape(-1, 2)
    classes = np.bincount(support[:, 0].astype(int)) / 3000
    np.testing.assert_allclose(classes, 0.5, atol=0.05)  # 5 standard deviations of 3,000 draws
    rows = np.bincount(support[:, 1].astype(int), minlength=len(labels)) / 3000
    expected = 0.5 / np.bincount(labels)[labels]
    np.testing.assert_allclose(rows, expected, atol=0.03)


def test_a_class_of_just_enough_rows():
    x, labels = data(classes=3, rows=6)
    for batch, y in episodes(x, labels, 3, 2, 4, batches=3).as_numpy_iterator():
        check(batch, y, 3, 2, 4)


def test_ways_and_shots_that_vary():
    seen = set()
    for x, y in episodes(*data(), ways=(2, 5), shots=(1, 3), batches=60, episodes_per_batch=2).as_numpy_iterator():
        labels = x["support"][1]
        ways, shots = labels.max() + 1, np.bincount(labels[0])[0]
        check(x, y, ways, shots, 4)
        seen.add((int(ways), int(shots)))
    assert seen == {(ways, shots) for ways in range(2, 6) for shots in range(1, 4)}


def test_rotations_are_classes_of_their_own():
    images = np.zeros((16, 4, 4, 1), "uint8")
    images[:, 0, 1] = 1 + np.arange(16)[:, None]  # at the top, left of the middle
    labels = np.repeat([0, 1], 8)
    corners = {(0, 1): 0, (2, 0): 1, (3, 2): 2, (1, 3): 3}  # turned against the clock
    pairs = set()
    for x, _ in episodes(images, labels, 8, 1, 7, rotations=True, batches=4).as_numpy_iterator():
        for group in np.concatenate([x["support"][0][0], x["query"][0]]).reshape(8 * 8, 4, 4):
            (place,) = np.argwhere(group)
            pairs.add(((group.max() - 1) // 8, corners[tuple(place)]))
        support = x["support"][0][0].reshape(8, 16)
        assert len({(int(image.max() - 1) // 8, int(image.argmax())) for image in support}) == 8
    assert pairs == {(label, quarter) for label in (0, 1) for quarter in range(4)}


def test_inputs_with_structure():
    x, labels = data()
    parts = {"left": x, "right": -x}
    for batch, y in episodes(parts, labels, batches=2).as_numpy_iterator():
        check(
            {"support": (batch["support"][0]["left"], batch["support"][1]), "query": batch["query"]["left"]}, y, 3, 2, 4
        )
        np.testing.assert_array_equal(batch["query"]["left"], -batch["query"]["right"])


def flat(stream):
    return [
        np.concatenate([part.ravel() for part in keras.tree.flatten(batch)]) for batch in stream.as_numpy_iterator()
    ]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_order_follows_the_seed():
    once, again, other = (flat(episodes(*data(), batches=5, seed=seed)) for seed in (4, 4, 5))
    assert same(once, again) and not same(once, other)
    assert len({batch.tobytes() for batch in once}) == 5


def test_passes():
    """New episodes for training, the same for validation."""
    stream = episodes(*data(), batches=5)
    first, second = flat(stream), flat(stream)
    assert not any(np.array_equal(a, b) for a in first for b in second)
    stream = episodes(*data(), batches=5, new_each_pass=False)
    assert same(flat(stream), first) and same(flat(stream), first)


def test_dtypes():
    x, labels = data()
    for dtype in ("uint8", "float32"):
        batch, _ = next(episodes(x.astype(dtype), labels).as_numpy_iterator())
        assert batch["query"].dtype == dtype


def test_drawn_without_python():
    """No Python function runs inside the pipeline."""
    graph = tf.data.Dataset.__module__ and episodes(*data())._as_serialized_graph().numpy()
    assert b"PyFunc" not in graph and b"ParallelMap" in graph


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(ways=7), "at least 7 classes, the `ways` of an episode; received 6"),
        (dict(ways=1), "`ways` of at least 2"),
        (dict(ways=(4, 2)), r"`ways` of at least 2.*received \(4, 2\)"),
        (dict(shots=0), "`shots` of at least 1"),
        (dict(queries=0), "`queries` to be an integer of at least 1; received 0"),
        (dict(queries=True), "`queries` to be an integer of at least 1; received True"),
        (dict(shots=(1, 2, 3)), r"`shots` of at least 1.*received \(1, 2, 3\)"),
        (dict(batches=2.0), "`batches` to be an integer of at least 1; received 2.0"),
        (dict(queries=7), "at least 9 rows of each class.*received 8 of class 3 and too few of 5 others"),
        (dict(labels=np.arange(47)), r"of one length; received shapes \[\(48, 2\), \(47,\)\]"),
        (
            dict(labels=np.linspace(0, 1, 48)),
            "integer labels; received float64 of shape .48,.: they are no whole",
        ),
        (dict(rotations=True), r"square images .rows, side, side, channels. to rotate; received shape \(48, 2\)"),
    ],
)
def test_bad_input(change, message):
    x, labels = data()
    labels = change.pop("labels", labels)
    with pytest.raises(ValueError, match=message):
        episodes(x, labels, **change)


def test_sizes_of_numpy():
    check(*next(episodes(*data(), np.int64(3), (np.int32(2), np.int32(2))).as_numpy_iterator()), 3, 2, 4)


def test_a_class_with_too_few_rows_is_named():
    x, labels = data()
    with pytest.raises(ValueError, match="at least 6 rows of each class.*received 2 of class 13.$"):
        episodes(
            x[(labels != 13) | (np.cumsum(labels == 13) <= 2)], labels[(labels != 13) | (np.cumsum(labels == 13) <= 2)]
        )

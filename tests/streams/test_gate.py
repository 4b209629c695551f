"""One gate: whatever takes data refuses what is none, says what it received and what helps."""

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.streams import gate

X = np.random.default_rng(0).normal(size=(24, 6)).astype("float32")
Y = np.arange(24) % 3


class Column:
    """What other packages' tables are to NumPy."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]


ROWS = {
    "source": lambda x: kt.streams.domains((x, Y), X, batch_size=8),
    "target": lambda x: kt.streams.domains((X, Y), x, batch_size=8),
    "target['a']": lambda x: kt.streams.domains(({"a": X}, Y), {"a": x}, batch_size=8),
    "x": lambda x: kt.streams.episodes(x, Y, 2, 1, 1),
    "images": lambda x: kt.streams.views(x, tf.identity, batch_size=8),
    "x of KNNProbe": lambda x: kt.callbacks.KNNProbe(x, Y, X, Y),
    "x_validation": lambda x: kt.callbacks.LinearProbe(X, Y, x, Y),
    "x of CollapseMonitor": kt.callbacks.CollapseMonitor,
    "x['view_2']": lambda x: kt.callbacks.CollapseMonitor({"view_1": X, "view_2": x}),
}
MASKED = np.ma.masked_array(X, X > 0)
OBJECTS = np.array([None, 1.0] * 12, object)
NO_ROWS = {
    "a csr_matrix, a sparse matrix: use `.toarray()`": scipy.sparse.csr_matrix(X),
    "a coo_array, a sparse matrix: use `.toarray()`": scipy.sparse.coo_array(X),
    "a SparseTensor: use `tf.sparse.to_dense`": tf.sparse.from_dense(X),
    "a RaggedTensor: use `.to_tensor()`": tf.ragged.constant([[1.0], [1.0, 2.0]] * 12),
    "a MaskedArray: use `.filled(value)`": MASKED,
    "a Batches, a keras PyDataset: it yields batches": Batches(),
    "a generator: pass what it yields": (row for row in X),
    "a list of ndarray: use `np.stack(...)` for rows": list(X),
    "a list of EagerTensor: use `np.stack(...)` for rows": list(tf.constant(X)),
    "a list of dict: use `np.stack(...)`": [{"a": 1.0}] * 24,
    "objects of NoneType, float: use `np.stack`": OBJECTS,
    "datetime64[D]": np.full(24, "2020-01-01", "datetime64[D]"),
    "complex64": X.astype("complex64"),
    "a NoneType: pass an array": None,
    "a function: pass an array": lambda: X,
    "a set: pass an array": {1.0, 2.0},
    "{}": {},
    "an int": 3,
    "a str": "images",
    "18 that are NaN or infinite": np.where(np.arange(24)[:, None] < 3, np.nan, X),
}


@pytest.mark.parametrize("message", NO_ROWS)
@pytest.mark.parametrize("name", ROWS)
def test_what_is_no_array(name, message):
    with pytest.raises(ValueError) as error:
        ROWS[name](NO_ROWS[message])
    assert f"received {message}" in str(error.value) and f"in `{name.split()[0]}`" in str(error.value)


@pytest.mark.parametrize("name", ["x", "x of KNNProbe", "x_validation", "x of CollapseMonitor"])
def test_a_dataset_where_arrays_are_meant(name):
    with pytest.raises(ValueError, match="received a tf.data.Dataset: of an unbatched one `np.stack"):
        ROWS[name](tf.data.Dataset.from_tensor_slices(X))


def test_rows_of_several_lengths():
    with pytest.raises(ValueError, match="Expected rows of one shape in `x`; received: "):
        kt.streams.episodes([[1.0], [1.0, 2.0]] * 12, Y, 2, 1, 1)
    rows = tf.data.Dataset.from_generator(
        lambda: [np.ones(1 + i) for i in range(8)], output_signature=tf.TensorSpec((None,))
    )
    with pytest.raises(
        ValueError, match="Expected rows of one shape in `target`, resized or padded; received: Cannot batch"
    ):
        kt.streams.domains((X, Y), rows, batch_size=8)


def test_a_loader_in_place_of_the_pair():
    for source, found in (
        (Batches(), "Batches, a keras PyDataset: concatenate"),
        ([X, Y], "a list of 2: write it as a tuple"),
    ):
        with pytest.raises(ValueError, match=f"`source` to be .x, y. or .*; received {found}"):
            kt.streams.domains(source, X)


# What passes, and as what.


@pytest.mark.parametrize(
    "given",
    [
        X,
        X.astype("float64"),
        X.tolist(),
        tf.constant(X),
        keras.Variable(X),
        Column(X),
        X.astype(np.longdouble),
        X.astype(">f4"),
        np.ma.masked_array(X),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_arrays_become(given):
    found = gate.arrays(given, "x")
    np.testing.assert_array_equal(found, X)
    assert isinstance(found, np.ndarray) and found.dtype == "float32"


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float32", "bfloat16"])
def test_dtypes_that_stay(dtype):
    values = tf.cast(tf.constant([[0, 1]] * 3), dtype).numpy()
    assert gate.arrays(values, "x").dtype == values.dtype == dtype


def test_values_of_half_precision_are_checked_too():
    with pytest.raises(ValueError, match="finite values in `x`; received 1 that"):
        gate.arrays(tf.constant([1.0, float("nan")], tf.bfloat16), "x")
    with pytest.raises(ValueError, match="same value range"):
        gate.check_range(*(tf.constant([value], tf.bfloat16).numpy() for value in (1.0, 255.0)), ("a", "b"))


def test_structures_keep_their_names():
    found = gate.arrays({"b": X.tolist(), "a": (X, Y)}, "x")
    assert list(found) == ["b", "a"] and found["a"][1] is Y
    with pytest.raises(ValueError, match=r"arrays of one length in `x`; received lengths \[23, 24\]"):
        gate.arrays({"a": X, "b": X[1:]}, "x")


STRINGS = {
    "narrow": np.array(["a", "b"] * 8),
    "wide": np.array(["a", "bcdef"] * 8),
    "objects": np.array(["a", "bcdef"] * 8, object),
    "bytes": np.array([b"a", b"b"] * 8),
    "list": ["a", "bcdef"] * 8,
    "dtype": np.array(["a", "bcdef"] * 8, np.dtypes.StringDType()),
    "column": Column(np.array(["a", "bcdef"] * 8, object)),
    "tensor": tf.constant(["a", "bcdef"] * 8),
}


@pytest.mark.parametrize("name", STRINGS)
def test_strings_of_any_width_are_one_dtype(name):
    narrow, target = STRINGS["narrow"], STRINGS[name]
    stream = kt.streams.domains((narrow, np.arange(16)), target, batch_size=8, seed=0)
    x = [batch for batch, _ in stream.as_numpy_iterator()]
    expected = sorted(word if isinstance(word, bytes) else word.encode() for word in np.asarray(target).tolist())
    assert sorted(word for batch in x for word in batch["target"]) == expected
    assert sorted(word for batch in x for word in batch["source"]) == [b"a"] * 8 + [b"b"] * 8


def test_strings_that_lack_some():
    with pytest.raises(ValueError, match="objects of NoneType"):
        kt.streams.domains((np.array(["a", None], object), [0, 1]), ["a", "b"], batch_size=1)


def test_lists_are_the_arrays_that_they_hold():
    one = kt.streams.domains((X, Y), X, batch_size=8, seed=0)
    other = kt.streams.domains((X.tolist(), Y.tolist()), X.tolist(), batch_size=8, seed=0)
    for first, second in zip(one.as_numpy_iterator(), other.as_numpy_iterator(), strict=True):
        for a, b in zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True):
            np.testing.assert_array_equal(a, b)


# Labels of classes.

LABELS = {
    "labels of episodes": lambda y: kt.streams.episodes(X, y, 2, 1, 1),
    "labels": lambda y: kt.streams.views(X, tf.identity, batch_size=8, labels=y),
    "y": lambda y: kt.callbacks.KNNProbe(X, y, X, Y),
    "y_validation": lambda y: kt.callbacks.LinearProbe(X, Y, X, y),
}
NO_LABELS = {
    "string of shape (24,): `np.unique({name}, return_inverse=True)` numbers them": np.array(["a", "bc", "d"] * 8),
    "float32 of shape (24, 3): of one-hot rows take `{name}.argmax(axis=-1)`": np.eye(3, dtype="float32")[Y],
    "int64 of shape (24, 3): of one-hot rows take `{name}.argmax(axis=-1)`": np.eye(3, dtype="int64")[Y],
    "int64 of shape (24, 1): use `{name}.reshape(-1)`": Y[:, None],
    'float64 of shape (24,): use `{name}.astype("int32")`': Y.astype("float64"),
    'bool of shape (24,): use `{name}.astype("int32")`': Y == 1,
    "float64 of shape (24,): they are no whole numbers": Y / 2,
    "a dict": {"a": Y},
    "a csr_array, a sparse matrix: use `.toarray()`": scipy.sparse.csr_array(np.eye(24)),
}


@pytest.mark.parametrize("message", NO_LABELS)
@pytest.mark.parametrize("name", LABELS)
def test_what_is_no_label(name, message):
    with pytest.raises(ValueError) as error:
        LABELS[name](NO_LABELS[message])
    name = name.split()[0]
    assert f"`{name}`" in str(error.value) and "received " + message.format(name=name) in str(error.value)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("make", [np.asarray, list, np.uint8, tf.constant, Column])
def test_labels_of_any_source(name, make):
    LABELS[name](make(Y))


# Datasets that are batched, or have no dense rows.


def slices(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


IMAGES = np.zeros((24, 8, 8, 3), "float32")
BATCHED = {
    "batch": slices(X, Y).batch(8),
    "batch of one size": slices(X, Y).batch(8, drop_remainder=True),
    "batch, then more": slices(X, Y).batch(8, drop_remainder=True).map(lambda x, y: (2 * x, y)).cache().prefetch(2),
    "batch, repeated": slices(X, Y).batch(8, drop_remainder=True).shuffle(4).repeat().take(100),
    "zip of batches": tf.data.Dataset.zip(
        slices(X).batch(8, drop_remainder=True), slices(Y).batch(8, drop_remainder=True)
    ),
    "images": slices(IMAGES, Y).batch(8, drop_remainder=True),
    "map then batch": slices(X, Y).map(lambda x, y: (x, y), num_parallel_calls=2).batch(8, num_parallel_calls=2),
    "from a generator": tf.data.Dataset.from_generator(
        lambda: iter([(X, Y)]), output_signature=(tf.TensorSpec((None, 6)), tf.TensorSpec((None,), tf.int64))
    ),
}


@pytest.mark.parametrize("name", BATCHED)
def test_batched_datasets(name):
    message = (
        r"an unbatched dataset in `%s`; received elements of shape .*\), which are batches: call `.unbatch\(\)` on it"
    )
    dataset = BATCHED[name]
    with pytest.raises(ValueError, match=message % "source"):
        kt.streams.domains(dataset, dataset.map(lambda x, y: x), batch_size=8)
    with pytest.raises(ValueError, match=message % "images"):
        kt.streams.views(dataset, tf.identity, batch_size=8)
    plain = dataset.unbatch()
    kt.streams.domains(plain, plain.map(lambda x, y: x), batch_size=8, classes=3)
    kt.streams.views(plain, tf.identity, batch_size=8)


@pytest.mark.parametrize("drop", [False, True])
def test_a_batched_target(drop):
    with pytest.raises(ValueError, match="an unbatched dataset in `target`; received elements of shape"):
        kt.streams.domains((X, Y), slices(X).batch(8, drop_remainder=drop), batch_size=8)


def test_a_batched_dataset_of_keras(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(4):
            keras.utils.save_img(tmp_path / name / f"{index}.png", IMAGES[index])
    batched, plain = (
        keras.utils.image_dataset_from_directory(tmp_path, image_size=(8, 8), batch_size=size, verbose=False)
        for size in (4, None)
    )
    with pytest.raises(ValueError, match="unbatch"):
        kt.streams.domains(batched, plain.map(lambda x, y: x), batch_size=4)
    kt.streams.domains(plain, plain.map(lambda x, y: x), batch_size=4, classes=2)


def test_rows_that_only_look_batched():
    """Segmentation, tagging and one-hot labels share a first axis with x."""
    for x, y in ((np.zeros((24, 8, 8, 3)), np.zeros((24, 8, 8), "int32")), (X[..., None], X), (X[:, :3], np.eye(3)[Y])):
        kt.streams.domains(slices(x, y), slices(x), batch_size=8)
    kt.streams.domains(slices(X, Y).batch(8).unbatch(), slices(X), batch_size=8)
    sentences = slices(np.arange(240)).batch(10, drop_remainder=True)
    with pytest.raises(ValueError, match="unbatch"):  # ambiguous; the way round is below
        gate.check_unbatched(sentences, "x")
    gate.check_unbatched(sentences.batch(1).unbatch(), "x")


@pytest.mark.parametrize(
    "dataset, message",
    [
        (slices(tf.ragged.constant([[1.0], [1.0, 2.0]] * 12)), "ragged tensors: map `.to_tensor"),
        (slices(tf.sparse.from_dense(X)), "sparse tensors: map `tf.sparse.to_dense`"),
        (slices(X).window(8), "datasets, as `window` makes them"),
    ],
)
def test_datasets_of_other_than_dense_rows(dataset, message):
    with pytest.raises(ValueError, match=f"Expected dense tensors in `target`; received {message}"):
        kt.streams.domains((X, Y), dataset, batch_size=8)

import errno
import os
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.backbones import cached_features
from tests.pictures import numbered


def backbone(seed=0, scale=1 / 255, activation="relu"):
    """With BatchNormalization and Dropout, which tell inference from training; layer names differ from call to call."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation)(layers.Rescaling(scale)(inputs))
    outputs = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return keras.Model(inputs, outputs + keras.Sequential([layers.Dense(8)])(x))


def data(rows=37, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (rows, 6)).astype("float32"), rng.integers(0, 3, rows)


def cached(*arguments, **kwargs):
    return kt.backbones.cached_features(*arguments, **{"batch_size": 16, "verbose": False, **kwargs})


class Counter:
    """A dataset of `data` that counts how often it has been read."""

    def __init__(self, rows=37):
        self.passes = 0
        spec = (tf.TensorSpec((6,)), tf.TensorSpec((), tf.int64))
        self.dataset = tf.data.Dataset.from_generator(lambda: self.read(rows), output_signature=spec)

    def read(self, rows):
        self.passes += 1
        yield from zip(*data(rows))


class Spy(keras.layers.Layer):
    """Counts the rows that go through it, and how often it is traced."""

    rows = traces = 0

    def call(self, x):
        type(self).traces += 1
        counted = tf.numpy_function(self.count, [x], x.dtype, stateful=True)
        return tf.ensure_shape(counted, x.shape)

    def count(self, x):
        type(self).rows += len(x)
        return x

    def compute_output_shape(self, shape):
        return shape


@pytest.fixture
def spied():
    class Fresh(Spy):
        pass

    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(4)(Fresh()(inputs)))
    Fresh.traces = 0
    return model, Fresh


@pytest.mark.parametrize("folder", [None, "cache"])
def test_equals_predict(tmp_path, folder):
    folder = folder and tmp_path / folder
    model, (x, y) = backbone(), data()
    expected, before = model.predict(x, batch_size=16, verbose=0), model.get_weights()
    np.testing.assert_array_equal(cached(model, x, folder=folder), expected)
    weight = np.linspace(0, 1, 37)
    for _ in range(2):
        features, labels, weights = cached(model, (x, y, weight), folder=folder)
        np.testing.assert_array_equal(features, expected)
        np.testing.assert_array_equal(labels, y)
        np.testing.assert_array_equal(weights, weight)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("batched", [False, True])
def test_datasets_in_one_pass(batched):
    """Features and labels stay together although every pass comes in another order."""
    model, (x, _) = backbone(), data()
    dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(37))).shuffle(37, seed=0)
    features, rows = cached(model, dataset.batch(10) if batched else dataset)
    assert sorted(rows) == list(range(37)) and list(rows) != sorted(rows)
    np.testing.assert_allclose(features, model.predict(x, verbose=0)[rows], atol=1e-6)
    np.testing.assert_allclose(
        cached(model, tf.data.Dataset.from_tensor_slices(x)), model.predict(x, verbose=0), atol=1e-6
    )


def test_dict_inputs():
    inputs = {name: keras.Input((3,), name=name) for name in ("left", "right")}
    model = keras.Model(inputs, inputs["left"] - 2 * inputs["right"])
    x, y = data()
    sides = {"left": x[:, :3], "right": x[:, 3:]}
    for rows in ((sides, y), tf.data.Dataset.from_tensor_slices((sides, y))):
        features, labels = cached(model, rows)
        np.testing.assert_allclose(features, x[:, :3] - 2 * x[:, 3:], rtol=1e-5)
        np.testing.assert_array_equal(labels, y)


def test_second_call_reads_the_file(tmp_path, spied):
    model, spy = spied
    first = cached(model, data(), folder=tmp_path)
    (file,) = tmp_path.iterdir()
    time = file.stat().st_mtime_ns
    assert spy.rows == 37 and spy.traces <= 2
    second = cached(model, data(), folder=tmp_path)
    assert spy.rows == 37 and file.stat().st_mtime_ns == time
    for old, new in zip(first, second):
        np.testing.assert_array_equal(new, old)
    counter = Counter()
    np.testing.assert_array_equal(cached(model, counter.dataset, folder=tmp_path)[0], first[0])
    assert spy.rows == 37 and counter.passes == 1 and list(tmp_path.iterdir()) == [file]


def test_ragged_last_batch_traces_once_more(spied):
    model, spy = spied
    cached(model, data(100))
    assert spy.rows == 100 and spy.traces <= 2


@pytest.mark.parametrize(
    "other, rows",
    [
        (lambda: backbone(seed=1), data()),
        (lambda: backbone(scale=1 / 127), data()),
        (lambda: backbone(activation="tanh"), data()),
        (backbone, (data()[0] + np.eye(37, 6, dtype="float32"), data()[1])),
        (backbone, (data()[0].astype("float64"), data()[1])),
        (backbone, (data()[0], data(seed=1)[1])),
        (backbone, data()[0]),
        (backbone, tuple(part[::-1] for part in data())),
    ],
    ids=["weights", "preprocessing", "activation", "data", "dtype", "labels", "no labels", "order"],
)
def test_whatever_differs_is_another_file(tmp_path, other, rows):
    cached(backbone(), data(), folder=tmp_path)
    found = cached(other(), rows, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    x, features = (rows[0], found[0]) if isinstance(rows, tuple) else (rows, found)
    np.testing.assert_allclose(features, other().predict(x, verbose=0), atol=1e-5)


def test_the_same_network_made_again_reads_the_file(tmp_path):
    first, again = backbone(), backbone()
    assert first.layers[2].name != again.layers[2].name
    cached(first, data(), folder=tmp_path)
    again.trainable = False
    again.compile("adam", "mse")
    cached(again, data(), folder=tmp_path)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        cached(backbone(), data(), folder=tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:400] + bytes([b[400] ^ 1]) + b[401:]]
)
def test_damaged_file_is_computed_anew(tmp_path, damage):
    expected = cached(backbone(), data(), folder=tmp_path)[0]
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    np.testing.assert_array_equal(cached(backbone(), data(), folder=tmp_path)[0], expected)
    assert list(tmp_path.iterdir()) == [file] and len(file.read_bytes()) == len(whole)


@pytest.mark.parametrize(
    "other", [lambda f: f[:30], lambda f: np.concatenate([f, f]), lambda f: f[None], lambda f: f * np.nan, np.argmax]
)
def test_an_intact_file_of_other_contents_is_computed_anew(tmp_path, other):
    expected = cached(backbone(), data(), folder=tmp_path)[0]
    (file,) = tmp_path.iterdir()
    np.savez(file, features=other(expected))
    features, y = cached(backbone(), data(), folder=tmp_path)
    np.testing.assert_array_equal(features, expected)
    assert len(features) == len(y) == 37 and len(np.load(file)["features"]) == 37


def test_bfloat16_is_read_as_it_was_computed(tmp_path):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Dense(4, dtype="bfloat16")(inputs))
    first, second = (cached(model, data()[0], folder=tmp_path) for _ in range(2))
    assert first.dtype == second.dtype == "bfloat16" and len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(second.astype("float32"), first.astype("float32"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_costs_no_features(tmp_path, monkeypatch, number):
    def full(path, content):
        raise OSError(number, os.strerror(number))

    expected = cached(backbone(), data())
    monkeypatch.setattr(sys.modules[cached_features.__module__], "write_whole", full)
    with pytest.warns(UserWarning, match=f"computed, but not kept in .*npz: .*{os.strerror(number)}"):
        found = cached(backbone(), data(), folder=tmp_path)
    for old, new in zip(expected, found, strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_that_is_full_costs_no_features(tmp_path, monkeypatch):
    """The write itself fails, half way: nothing is left in the folder."""

    def to_full(path, content):
        with open("/dev/full", "wb") as file:
            content(file)

    monkeypatch.setattr(sys.modules[cached_features.__module__], "write_whole", to_full)
    with pytest.warns(UserWarning, match="No space left"):
        assert len(cached(backbone(), data(), folder=tmp_path)[0]) == 37
    assert list(tmp_path.iterdir()) == []


def test_head_trains_on_the_features():
    x, _ = data(200)
    y = (x[:, 0] > 128).astype("int32")
    head = keras.Sequential([keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    head.compile(keras.optimizers.Adam(0.1), loss, metrics=["accuracy"])
    history = head.fit(*cached(backbone(), (x, y)), epochs=20, verbose=0).history
    assert history["accuracy"][-1] > 0.9


def test_progress(capsys):
    cached(backbone(), data(), verbose=True)
    assert "3/3" in capsys.readouterr().out
    cached(backbone(), data())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "rows, message",
    [
        (np.zeros((0, 6)), "at least 1 row; received shapes"),
        ((np.zeros((3, 6)), np.zeros(4)), r"arrays of one length, .*received shapes \[\(3, 6\), \(4,\)\]"),
        ([1.0, 2.0], r"arrays of one length, .*received shapes \[\(\), \(\)\]"),
        (tf.data.Dataset.from_tensor_slices(np.zeros((0, 6))), "at least 1 row; received an empty dataset"),
        (tf.data.Dataset.from_tensors(np.zeros((2, 6))).repeat(), "Expected a finite dataset"),
        (np.float32([[0] * 6, [np.nan] * 6, [0] * 6]), "finite features .* in 1 of 3 rows"),
    ],
    ids=["empty", "lengths", "no arrays", "empty dataset", "endless dataset", "NaN"],
)
def test_bad_data(tmp_path, rows, message):
    for folder in (None, tmp_path):
        with pytest.raises(ValueError, match=message):
            cached(backbone(activation="linear"), rows, folder=folder)  # some CPUs make NaN 0 in relu
    assert list(tmp_path.iterdir()) == []


def test_backbone_that_returns_no_features():
    inputs = keras.Input((6,))
    for outputs in (keras.layers.Reshape((2, 3))(inputs), {"a": inputs, "b": inputs}):
        model = keras.Model(inputs, outputs, name="my_backbone")
        with pytest.raises(
            ValueError, match=r"'my_backbone' to return features of shape \(batch, dim\); received shape"
        ):
            cached(model, data())


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(FileExistsError):
        cached(backbone(), data(), folder=tmp_path / "cache")


def test_files_are_read_batch_by_batch(tmp_path):
    files = kt.datasets.image_files(numbered(tmp_path / "pictures", 10), image_size=4)
    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    features, labels = cached(network, (files, files.labels), folder=tmp_path / "cache", batch_size=4)
    np.testing.assert_allclose(features, network.predict(files[:], verbose=0), atol=1e-4)
    assert labels.tolist() == files.labels.tolist()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    again = cached(network, files[:], folder=tmp_path / "cache", batch_size=4)  # other data: without labels
    np.testing.assert_array_equal(again, features)
    np.testing.assert_array_equal(cached(network, files, folder=tmp_path / "cache", batch_size=4), again)
    assert len(list((tmp_path / "cache").iterdir())) == 2

import gc
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests.pictures import numbered


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """20 pictures whose pixels are their number; the label is its remainder by 2."""
    return kt.datasets.image_files(numbered(tmp_path_factory.mktemp("pictures"), 20), image_size=4)


def numbers(images):
    return np.asarray(images)[..., 0, 0, 0].astype(int)


def one_pass(stream):
    images, labels = zip(*stream.as_numpy_iterator())
    return numbers(np.concatenate(images)), np.concatenate(labels)


def test_trains_on_another_order_in_each_pass(files):
    stream = kt.streams.images(files, 6, seed=1)
    assert len(stream) == 3
    assert [tuple(spec.shape) for spec in stream.element_spec] == [(6, 4, 4, 3), (6,)]
    first, second = one_pass(stream), one_pass(stream)
    for seen, labels in (first, second):
        assert len(set(seen)) == 18 and (seen % 2 == labels).all()
    assert (first[0] != second[0]).any()
    assert (one_pass(kt.streams.images(files, 6, seed=1))[0] == first[0]).all()
    assert (one_pass(kt.streams.images(files, 6, seed=2))[0] != first[0]).any()


def test_all_in_order_to_evaluate(files):
    stream = kt.streams.images(files, 6, shuffle=False)
    seen, labels = one_pass(stream)
    assert len(stream) == 4 and seen.tolist() == numbers(files[:]).tolist()
    assert labels.tolist() == files.labels.tolist()
    bare = kt.datasets.ImageFiles(files.paths, image_size=4)
    (batch, *_) = kt.streams.images(bare, 20, shuffle=False).as_numpy_iterator()
    np.testing.assert_array_equal(batch, files[:])


def test_augmentation_and_fit(files):
    """A model that is given the answer by the augmentation alone learns from the stream."""
    brighter = keras.Sequential([keras.layers.Rescaling(1.0, offset=5.0)])
    stream = kt.streams.images(files, 20, augment=brighter)
    seen, _ = one_pass(stream)
    assert sorted(seen) == list(range(5, 25))
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    assert np.isfinite(model.fit(stream, verbose=0, shuffle=False).history["loss"]).all()


def test_is_not_autotuned(files):
    for shuffle in (True, False):
        assert kt.streams.images(files, 4, shuffle).options().autotune.enabled is False


@pytest.mark.parametrize(
    "change, message",
    [
        ({"files": np.zeros((4, 4, 4, 3))}, "`files` to be kt.datasets.ImageFiles; received a ndarray. Arrays go into"),
        ({"batch_size": 30}, "at least one batch of 30 images; received 20"),
        ({"batch_size": 0}, "`batch_size` to be an integer of at least 1; received 0"),
        ({"augment": 3}, "`augment` to be a layer or a function; received 3"),
        ({"augment": keras.layers.RandomCrop(2, 2)}, "crops a whole batch at one place"),
        ({"augment": lambda x: x[:3]}, "as many images from `augment`; received 3 of 4"),
    ],
)
def test_errors(files, change, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.images(**{"files": files, "batch_size": 4, **change})


def test_images_of_unknown_size_and_none(files):
    with pytest.raises(ValueError, match="`files` with an `image_size`; received images of unknown size"):
        kt.streams.images(kt.datasets.ImageFiles(files.paths), 4)
    with pytest.raises(ValueError, match="at least one row in `files`; received none"):
        kt.streams.images(files.subset([]), 4)


def test_a_file_that_breaks_is_named(tmp_path):
    files = kt.datasets.image_files(numbered(tmp_path, 4), image_size=4)
    files.paths[2].write_bytes(b"no picture")
    with pytest.raises(tf.errors.OpError, match=f"{files.paths[2].name} to be a complete photograph"):
        list(kt.streams.images(files, 4, shuffle=False))


# In place of arrays.


def test_views_of_files(files):
    stream = kt.streams.views(files, lambda x: tf.cast(x, tf.float32), batch_size=6, labels=files.labels, seed=0)
    array = kt.streams.views(files[:], lambda x: tf.cast(x, tf.float32), batch_size=6, labels=files.labels, seed=0)
    for (x, y), (expected_x, expected_y) in zip(stream.as_numpy_iterator(), array.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(x["view_1"], expected_x["view_1"])
        np.testing.assert_array_equal(x["view_2"], expected_x["view_2"])
        np.testing.assert_array_equal(y, expected_y)


def test_domains_of_files(files):
    stream = kt.streams.domains((files, files.labels), files.subset(slice(0, 7)), batch_size=6, seed=0)
    array = kt.streams.domains((files[:], files.labels), files[:7], batch_size=6, seed=0)
    for found, expected in zip(stream.as_numpy_iterator(), array.as_numpy_iterator(), strict=True):
        keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


def test_domains_of_files_and_a_dataset(files):
    target = tf.data.Dataset.from_tensor_slices(files[:8])
    stream = kt.streams.domains((files, files.labels), target, batch_size=5, seed=0)
    batches = list(stream.as_numpy_iterator())
    seen = np.concatenate([numbers(x["source"]) for x, _ in batches])
    assert sorted(seen) == list(range(20)) and (seen % 2 == np.concatenate([y for _, y in batches])).all()


def test_domains_of_another_range_are_noticed(files):
    bright = files[:].astype("float32") * 1000
    with pytest.raises(ValueError, match="of one structure, shape and dtype"):
        kt.streams.domains((bright, files.labels), files, batch_size=4)


def test_episodes_of_files(files):
    labels = np.arange(20) // 4
    arguments = {"ways": 3, "shots": 1, "queries": 2, "batches": 2, "seed": 0}
    found = list(kt.streams.episodes(files, labels, **arguments).as_numpy_iterator())
    expected = list(kt.streams.episodes(files[:], labels, **arguments).as_numpy_iterator())
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)
    with pytest.raises(ValueError, match=r"square images .* to rotate; received files: `x\[:\]` reads them"):
        kt.streams.episodes(files, labels, rotations=True, **arguments)


def test_where_arrays_are_needed_files_are_refused(files):
    from keras_transfer.streams import gate

    with pytest.raises(ValueError, match=r"arrays in `x.'a'.`; received an ImageFiles: `rows\[:\]` reads all of it"):
        gate.arrays({"a": files}, "x")


# More than memory holds.


def _resident():
    """Megabytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_pass_over_20_000_files_stays_small(tmp_path):
    """All images would take 20,000 * 64 * 64 * 3 bytes, 234 MB; a batch of 100 takes 1.2."""
    originals = kt.datasets.image_files(numbered(tmp_path / "originals", 200, side=64), image_size=64)
    (tmp_path / "many" / "one").mkdir(parents=True)
    for number in range(20_000):
        os.link(originals.paths[number % 200], tmp_path / "many" / "one" / f"{number}.png")
    stream = kt.streams.images(kt.datasets.image_files(tmp_path / "many", image_size=64), 100)
    next(iter(stream))
    gc.collect()
    before, seen, most = _resident(), np.zeros(200, int), 0.0
    for images, _ in stream.as_numpy_iterator():
        seen += np.bincount(numbers(images), minlength=200)
        most = max(most, _resident())
    assert (seen == 100).all()
    assert most - before < 60

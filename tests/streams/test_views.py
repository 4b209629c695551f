import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt


def images(rows=20, side=4):
    """Images that carry their own number in every pixel."""
    return np.broadcast_to(np.arange(rows, dtype="uint8")[:, None, None, None], (rows, side, side, 1)).copy()


def numbers(batches):
    return np.concatenate([batch["view_1"][:, 0, 0, 0] for batch in batches]).astype(int)


def same(x):
    return tf.cast(x, tf.float32)


def test_two_views_of_the_same_images_in_another_order_each_pass():
    stream = kt.streams.views(images(), same, batch_size=6, seed=0)
    assert len(stream) == 3
    passes = [list(stream.as_numpy_iterator()) for _ in range(2)]
    for batches in passes:
        for batch in batches:
            assert batch["view_1"].shape == (6, 4, 4, 1)
            np.testing.assert_array_equal(batch["view_1"], batch["view_2"])
        assert len(set(numbers(batches))) == 18
    assert (numbers(passes[0]) != numbers(passes[1])).any()
    again = kt.streams.views(images(), same, batch_size=6, seed=0)
    np.testing.assert_array_equal(numbers(again.as_numpy_iterator()), numbers(passes[0]))


def test_each_view_of_each_image_is_drawn_by_itself():
    ramp = np.broadcast_to(np.arange(16, dtype="float32")[None, :, None, None], (8, 16, 16, 1))
    crop = kt.layers.RandomResizedCrop(16, 16, scale=(0.2, 0.5), seed=0)
    (batch,) = kt.streams.views(ramp, crop, batch_size=8).as_numpy_iterator()
    tops = [round(float(view[0, 0, 0]), 3) for views in batch.values() for view in views]
    assert len(set(tops)) == 16


def test_labels_go_with_their_images():
    stream = kt.streams.views(images(), same, batch_size=5, labels=np.arange(20) * 3, seed=0)
    for x, y in stream.as_numpy_iterator():
        np.testing.assert_array_equal(3 * x["view_2"][:, 0, 0, 0], y)


@pytest.mark.parametrize("labelled", [False, True])
def test_from_a_dataset(labelled):
    rows = (images(), np.arange(20)) if labelled else images()
    stream = kt.streams.views(tf.data.Dataset.from_tensor_slices(rows), same, batch_size=6, seed=0)
    batches = list(stream.as_numpy_iterator())
    assert len(batches) == 3
    x = batches[0][0] if labelled else batches[0]
    assert set(x) == {"view_1", "view_2"} and x["view_1"].shape == (6, 4, 4, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 1}, "`batch_size` to be an integer of at least 2; received 1"),
        ({"shuffle_buffer": 0}, "`shuffle_buffer` to be an integer of at least 1; received 0"),
        ({"augment": None}, "`augment` to be a layer or a function; received None"),
        ({"batch_size": 30}, "at least one batch of 30 images; received 20"),
        ({"labels": np.arange(3)}, "as many labels as images; received 3 and 20"),
        ({"augment": keras.layers.RandomCrop(2, 2)}, "RandomResizedCrop"),
        ({"augment": keras.Sequential([keras.layers.RandomCrop(2, 2)])}, "crops a whole batch at one place"),
        ({"augment": lambda x: x[:3]}, "a view of each of 8 images; received shape"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.views(images(), **{"augment": same, "batch_size": 4, **arguments})


@pytest.mark.parametrize(
    "rows, labels, message",
    [
        ((images(),), np.arange(20), "no `labels` beside a dataset; received some: `tf.data.Dataset.zip`"),
        ((images(rows=3),), None, "at least one batch of 4 rows in `images`; received a dataset of 3 rows"),
        ((images(), np.arange(20), np.ones(20)), None, "a dataset of images, or of .image, label.; received"),
        (({"a": images()},), None, "a dataset of images, or of .image, label.; received"),
        ((images(), np.eye(20)), None, r"of integer labels; received float64 of shape .4, 20.: of one-hot rows take"),
        ((images() * np.float32("nan"),), None, "finite values in `images`; received 64 that"),
        ((images().astype("str"),), None, "one array of numbers; received strings"),
    ],
)
def test_errors_of_datasets(rows, labels, message):
    dataset = tf.data.Dataset.from_tensor_slices(rows if len(rows) > 1 else rows[0])
    with pytest.raises(ValueError, match=message):
        kt.streams.views(dataset, same, batch_size=4, labels=labels)

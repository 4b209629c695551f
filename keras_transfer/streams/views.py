"""The stream of self-supervised learning: two views of each image."""

import numpy as np
import tensorflow as tf

from keras_transfer.checks import check_finite
from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered, held
from keras_transfer.streams.passes import numbered_passes
from keras_transfer.streams.prefetched import prefetched


def views(images, augment, batch_size=256, labels=None, seed=None, shuffle_buffer=10_000):
    """Makes two random views of each image.

    Both views of a batch go through the augmentation in one call, which draws for each image by itself. Images are
    reshuffled in each pass, the remainder is dropped, and the next batches are prepared while one trains.

    From arrays, the order is a function of the seed and of the number of completed epochs. What the augmentation draws
    follows from the seeds of its layers, or from `keras.utils.set_random_seed` before they are made.

    Args:
        images: array `(rows, ...)`, uint8 or float. For more than memory holds: `kt.datasets.ImageFiles`, which are
            read as they are needed and shuffled whole; or an unbatched `tf.data.Dataset` of images, or, with labels, of
            `(image, label)`.
        augment: layer or function from a batch of images to a batch of views: `kt.layers.contrastive_views`, ready for
            colour and for grey images, or a `keras.Sequential` of `kt.layers.RandomResizedCrop` and Keras's own
            augmentation layers.
        batch_size: int of at least 2, images in a batch.
        labels: integer array `(rows,)`, for `kt.models.SupCon`; None for methods without labels. A dataset brings its
            own.
        seed: int that makes the order reproducible; None draws one.
        shuffle_buffer: int, images held in memory to shuffle a dataset; arrays are shuffled whole.

    Returns:
        A `tf.data.Dataset` of `{"view_1": (batch_size, ...), "view_2": (batch_size, ...)}`, or of pairs of that and the
        labels `(batch_size,)`.

    Raises:
        ValueError: if there are fewer images than a batch, a batch has fewer than 2, the images are no one array of
            finite numbers, batched already, the labels are not as many or no integers, or the augmentation crops a
            whole batch at one place, as `keras.layers.RandomCrop` does, or changes the number of images. Arrays are
            checked whole, datasets on their first batch.

    Example:

    ```python
    augment = kt.layers.contrastive_views(image_size=64, channels=3)
    model.fit(kt.streams.views(images, augment), epochs=20, shuffle=False)
    ```
    """
    gate.check_count(batch_size, "batch_size", 2)
    gate.check_count(shuffle_buffer, "shuffle_buffer", 1)
    gate.check_augmentation(augment)

    def pair(rows, *labels):
        both = augment(tf.concat([rows, rows], axis=0))
        if both.shape[0] not in (None, 2 * batch_size):
            raise ValueError(f"Expected a view of each of {2 * batch_size} images; received shape {both.shape}.")
        x = {"view_1": both[:batch_size], "view_2": both[batch_size:]}
        return (x, *labels) if labels else x

    if isinstance(images, tf.data.Dataset):
        _check_dataset(images, batch_size, labels)
        return _from_dataset(images, pair, batch_size, seed, shuffle_buffer)
    rows = [_numbers(gate.arrays(images, "images", stored=True))]
    if labels is not None:
        rows.append(gate.integer_labels(labels, "labels"))
    if len({len(array) for array in rows}) > 1:
        raise ValueError(f"Expected as many labels as images; received {len(rows[1])} and {len(rows[0])}.")
    number = len(rows[0])
    if number < batch_size:
        raise ValueError(f"Expected at least one batch of {batch_size} images; received {number}.")
    rows = held(rows)
    seed = int(np.random.default_rng(seed).integers(2**31))
    steps = number // batch_size

    def one_pass(pass_number):
        key = tf.stack([tf.constant(seed, tf.int64), pass_number])
        order = tf.random.experimental.stateless_shuffle(tf.range(number), seed=key)
        batches = tf.data.Dataset.from_tensor_slices(tf.reshape(order[: steps * batch_size], (steps, batch_size)))
        return batches.map(lambda places: pair(*gathered(rows, places)))

    return numbered_passes(one_pass, steps)


def _from_dataset(images, pair, batch_size, seed, shuffle_buffer):
    batches = images.shuffle(shuffle_buffer, seed=seed).batch(batch_size, drop_remainder=True)
    return prefetched(batches.map(pair))


def _check_dataset(dataset, batch_size, labels):
    if labels is not None:
        raise ValueError("Expected no `labels` beside a dataset; received some: `tf.data.Dataset.zip` joins them.")
    image, *rest = dataset.element_spec if isinstance(dataset.element_spec, tuple) else (dataset.element_spec,)
    if isinstance(image, (dict, tuple)) or len(rest) > 1:
        raise ValueError(f"Expected a dataset of images, or of (image, label); received {dataset.element_spec}.")
    sample = gate.first_batch(dataset, "images", batch_size)
    image, *rest = sample if rest else (sample,)
    check_finite(_numbers(image), "images")
    for numbers in rest:
        gate.integer_labels(numbers, "labels")


def _numbers(images):
    if isinstance(images, (dict, tuple)) or gate.kind(images) == "string":
        received = "strings" if isinstance(images, np.ndarray) else f"a {type(images).__name__}"
        raise ValueError(f"Expected `images` to be one array of numbers; received {received}.")
    return images

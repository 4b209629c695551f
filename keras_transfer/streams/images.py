"""The stream of pictures on disk: read a batch at a time, while the one before trains."""

import numpy as np
import tensorflow as tf

from keras_transfer.streams import gate
from keras_transfer.streams.gathered import gathered
from keras_transfer.streams.passes import numbered_passes
from keras_transfer.streams.prefetched import prefetched


def images(files, batch_size=64, shuffle=True, augment=None, seed=0):
    """Makes batches of pictures, with their labels where they have some; no more than a few batches are in memory.

    The pictures of a batch are read in parallel, and the next two batches while one trains. To train: each pass is
    shuffled, its order a function of the seed and of the number of completed passes, and the remainder is dropped. To
    predict and evaluate: `shuffle=False` gives all pictures in their order.

    Args:
        files: `kt.datasets.ImageFiles` with an `image_size`.
        batch_size: int, pictures in a batch.
        shuffle: bool.
        augment: layer or function from a batch of images to as many; None leaves them as they are.
        seed: int.

    Returns:
        A `tf.data.Dataset` of pairs of images `(batch, height, width, 3)`, uint8 unless the augmentation makes them
        floats, and int32 labels `(batch,)`; of images alone where there are no labels.

    Raises:
        ValueError: if these are no picture files, their size is not known, there are fewer than a batch to train, or
            the augmentation crops a whole batch at one place, as `keras.layers.RandomCrop` does, or changes the number
            of images.

    Example:

    ```python
    files = kt.datasets.image_files("my_photos", image_size=128)
    model.fit(kt.streams.images(files, augment=keras.layers.RandomFlip("horizontal")), epochs=20, shuffle=False)
    model.evaluate(kt.streams.images(files, shuffle=False))
    ```
    """
    gate.check_count(batch_size, "batch_size", 1)
    files = gate.stored_rows(files, "files")
    if augment is not None:
        gate.check_augmentation(augment)
    rows = (files,) if files.labels is None else (files, tf.constant(files.labels))
    number, seed = len(files), int(np.random.default_rng(seed).integers(2**31))

    def batch(places):
        pictures, *labels = gathered(rows, places)
        if augment is not None:
            size = pictures.shape[0]
            pictures = augment(pictures)
            if pictures.shape[0] != size:
                raise ValueError(f"Expected as many images from `augment`; received {pictures.shape[0]} of {size}.")
        return (pictures, *labels) if labels else pictures

    if not shuffle:
        return prefetched(tf.data.Dataset.range(number).batch(batch_size).map(batch))
    if number < batch_size:
        raise ValueError(f"Expected at least one batch of {batch_size} images; received {number}.")
    steps = number // batch_size

    def one_pass(pass_number):
        key = tf.stack([tf.constant(seed, tf.int64), pass_number])
        order = tf.random.experimental.stateless_shuffle(tf.range(number), seed=key)[: steps * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order, (steps, batch_size))).map(batch)

    return numbered_passes(one_pass, steps)

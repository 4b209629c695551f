"""What streams of texts share: texts as rows of token ids, from memory or from what is larger than it."""

import os
import pathlib

import numpy as np
import tensorflow as tf

from keras_transfer.streams import gate
from keras_transfer.streams.passes import numbered_passes, shuffled
from keras_transfer.streams.prefetched import prefetched

_READ = 1024  # texts that are cut into tokens at once


def token_batches(texts, tokens, make, length, batch_size, pack, seed, shuffle_buffer):
    """Makes a dataset of what `make` returns of each batch of token ids.

    Args:
        texts: array or list of strings `(rows,)`, which are cut into tokens once and held as ids; integer array of
            token ids `(rows, length)`; `pathlib.Path` of a file with one text in a line, or a list of such; an
            unbatched `tf.data.Dataset` of strings; or a function without arguments that returns an iterator of strings.
            What is no array is read again in each pass, a few batches at a time.
        tokens: `kt.layers.WordPiece`.
        make: function from ids `(batch_size, length)` and a key `(2,)`, int64, to an element.
        length: int, tokens of a row.
        batch_size: int, rows of a batch.
        pack: bool, whether texts follow one another in full rows; otherwise a text is a row, cut at `length`.
        seed: int or None.
        shuffle_buffer: int, rows held to shuffle what is no array.

    Returns:
        A `tf.data.Dataset`: of arrays its order and keys are a function of the seed and of the completed epochs.

    Raises:
        ValueError: if texts are no strings, none has a token, bytes are not UTF-8, or rows are fewer than a batch.
    """
    for value, name, least in (
        (length, "length", 3),
        (batch_size, "batch_size", 1),
        (shuffle_buffer, "shuffle_buffer", 1),
    ):
        gate.check_count(value, name, least)
    streamed = _dataset(texts)
    if streamed is not None:
        return _streamed(streamed, tokens, make, length, batch_size, pack, seed, shuffle_buffer)
    rows = _rows(texts, tokens, length, pack)
    if len(rows) < batch_size:
        raise ValueError(f"Expected at least one batch of {batch_size} rows; received {len(rows)}.")
    ids, seed = tf.constant(rows), int(np.random.default_rng(seed).integers(2**31))
    steps = len(rows) // batch_size

    def one_pass(number):
        order = shuffled(len(rows), seed, number)[: steps * batch_size]
        batches = tf.data.Dataset.from_tensor_slices(tf.reshape(order, (steps, batch_size)))
        return batches.enumerate().map(
            lambda step, places: make(tf.gather(ids, places), tf.stack([seed + number * steps, step]))
        )

    return numbered_passes(one_pass, steps)


def mask_of(tokens):
    """Returns the id of `[MASK]` after a check that the vocabulary has one."""
    if tokens.mask_id is None:
        raise ValueError("Expected `tokens` with a [MASK] in the vocabulary; received none.")
    return tokens.mask_id


def checked_texts(texts, name):
    """Returns texts as an array of objects `(rows,)` after a check that they are strings in UTF-8."""
    array = gate.arrays(texts, name)
    if not isinstance(array, np.ndarray) or gate.kind(array) != "string" or array.ndim != 1:
        found = f"{gate.kind(array)} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"Expected `{name}` (rows,) of strings; received {found}.")
    for row, text in enumerate(array):
        try:
            text.decode("utf-8") if isinstance(text, bytes) else text.encode("utf-8")
        except UnicodeError as error:
            raise ValueError(f"Expected `{name}` in UTF-8; received others in row {row}: {error}.") from error
    return array


def _rows(texts, tokens, length, pack):
    """Texts as an int32 array `(rows, length)`; rows without a token are left out."""
    array = np.asarray(texts)
    if array.dtype.kind in "iu" and array.ndim == 2:
        if array.shape[1] != length or pack:
            raise ValueError(f"Expected token ids (rows, {length}) that are not packed; received shape {array.shape}.")
        return array.astype("int32")
    array = checked_texts(texts, "texts")
    parts = [tokens.tokenize(list(array[i : i + _READ])) for i in range(0, len(array), _READ)]
    if not sum(int(tf.size(part.flat_values)) for part in parts):
        raise ValueError(f"Expected texts with tokens; received {len(array)} that are empty.")
    if pack:
        flat = np.concatenate([_flat(part, tokens).numpy() for part in parts])
        number = len(flat) // (length - 1)
        return np.pad(
            flat[: number * (length - 1)].reshape(number, -1), ((0, 0), (1, 0)), constant_values=tokens.start_id
        )
    rows = np.concatenate([tokens.pack(part, length).numpy() for part in parts])
    return rows[rows[:, 1] != tokens.end_id]


def _flat(ids, tokens):
    """The tokens of texts one after another, an end behind each."""
    return tf.concat([ids, tf.fill((ids.nrows(), 1), tokens.end_id)], axis=1).flat_values


def _dataset(texts):
    """A dataset of strings where texts are larger than memory may hold; None for arrays."""
    paths = texts if isinstance(texts, (list, tuple)) else [texts]
    if paths and all(isinstance(path, pathlib.Path) for path in paths):
        lacking = [str(path) for path in paths if not path.is_file()]
        if lacking:
            raise ValueError(f"Expected files; received {', '.join(lacking)}, which are none.")
        return tf.data.TextLineDataset([os.fspath(path) for path in paths])
    if isinstance(texts, tf.data.Dataset):
        gate.check_unbatched(texts, "texts")
        if texts.element_spec != tf.TensorSpec((), tf.string):
            raise ValueError(f"Expected a dataset of strings; received {texts.element_spec}.")
        return texts
    if callable(texts):
        return tf.data.Dataset.from_generator(texts, output_signature=tf.TensorSpec((), tf.string))
    return None


def _streamed(dataset, tokens, make, length, batch_size, pack, seed, shuffle_buffer):
    batches = dataset.map(lambda text: tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="strict")).batch(
        _READ
    )
    if pack:
        whole = batches.map(lambda text: _flat(tokens.tokenize(text), tokens)).rebatch(length - 1, drop_remainder=True)
        rows = whole.map(lambda ids: tf.pad(ids, [[1, 0]], constant_values=tokens.start_id))
    else:
        rows = batches.map(lambda text: tokens.pack(tokens.tokenize(text), length)).unbatch()
        rows = rows.filter(lambda ids: ids[1] != tokens.end_id)
    rows = rows.map(lambda ids: tf.ensure_shape(ids, (length,)))
    batches = rows.shuffle(shuffle_buffer, seed=seed).batch(batch_size, drop_remainder=True)
    if next(iter(batches.take(1)), None) is None:
        raise ValueError(f"Expected at least one batch of {batch_size} rows of {length} tokens; received fewer.")
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    return prefetched(tf.data.Dataset.zip(batches, draws).map(make))

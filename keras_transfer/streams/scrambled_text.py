"""The stream of denoising: texts with tokens lost, hidden and out of order, and the texts as they were."""

import tensorflow as tf

from keras_transfer.checks import check_flag, check_integer, check_number
from keras_transfer.streams.texts import mask_of, token_batches

_ENDS = (".", "!", "?", ";")


def scrambled_text(
    texts,
    tokens,
    length=128,
    batch_size=32,
    delete=0.1,
    infill=0.15,
    window=3,
    sentences=True,
    seed=None,
    shuffle_buffer=10_000,
):
    """Makes batches of scrambled texts, and what they were; scrambled anew in each epoch.

    In this order: sentences are put into another order; each token moves by less than `window` places; spans of 1 to
    some 5 tokens are replaced by one `[MASK]` each; tokens are deleted. The remainder is dropped.

    Args:
        texts: see `kt.streams.masked_text`.
        tokens: `kt.layers.WordPiece` with a `[MASK]`.
        length: int of at least 3, tokens of a row; what follows is cut off.
        batch_size: int, rows of a batch.
        delete: float from 0 to below 1, the share of tokens that are deleted.
        infill: float from 0 to below 1, about the share of tokens that lie in hidden spans.
        window: int, 1 for tokens that stay in their order.
        sentences: bool, whether sentences, which end in one of `. ! ? ;`, change places.
        seed: int that makes order and noise reproducible; None draws one.
        shuffle_buffer: int, rows held to shuffle what is no array.

    Returns:
        A `tf.data.Dataset` of `({"text": {"token_ids": (batch_size, length), "before": (batch_size, length - 1)}}, ids
        (batch_size, length - 1), weights (batch_size, length - 1))`: `before` is the text up to each place, and the ids
        are those that follow, the last of them `[SEP]`; weights are 0 for padding.

    Raises:
        ValueError: if the vocabulary has no `[MASK]`, texts are no strings in UTF-8, none has a token, or there are
            fewer rows than a batch.

    Reference:
        Lewis et al., BART, ACL 2020, arXiv:1910.13461; the order of tokens as in Lample et al., Unsupervised Machine
        Translation Using Monolingual Corpora Only, ICLR 2018, arXiv:1711.00043.
    """
    check_number(delete, "delete", least=0, below=1)
    check_number(infill, "infill", least=0, below=1)
    check_integer(window, "window")
    check_flag(sentences, "sentences")
    mask = mask_of(tokens)
    ends = tf.constant([token in _ENDS for token in tokens.vocabulary])
    places = tf.range(length)[None]

    def ordered(ids, by):
        return tf.gather(ids, tf.argsort(by, axis=1, stable=True), batch_dims=1)

    def make(ids, key):
        def draws(number):
            return tf.random.stateless_uniform((batch_size, length), key + number)

        written = (ids != 0) & (ids != tokens.start_id) & (ids != tokens.end_id)
        text = ordered(ids, tf.where(written, places, length + places))  # the words first
        inside = places < tf.reduce_sum(tf.cast(written, tf.int32), axis=1, keepdims=True)
        if sentences:
            sentence = tf.cumsum(tf.cast(tf.gather(ends, text), tf.int32), axis=1, exclusive=True)
            text = ordered(text, tf.where(inside, tf.gather(draws(0), sentence, batch_dims=1), 1.0))
        moved = tf.cast(places, tf.float32) + window * draws(1)
        text = ordered(text, tf.where(inside, moved, tf.cast(2 * length + places, tf.float32)))
        begins = inside & (draws(2) < infill / 3)
        spans = 1 + tf.random.stateless_poisson((batch_size, length), key + 3, 2.0, tf.int32)
        until = tf.where(places[0, :, None] >= places, tf.where(begins, places, -1)[:, None], -1)
        begun = tf.reduce_max(until, axis=-1)  # where the last span up to each place begins
        spans = tf.gather(spans, tf.maximum(begun, 0), batch_dims=1)
        hidden = inside & (begun >= 0) & (places - begun < spans)
        text = tf.where(hidden, mask, text)
        kept = inside & (~hidden | begins) & (hidden | (draws(4) >= delete))
        text = ordered(tf.where(kept, text, 0), tf.where(kept, places, length + places))
        number = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1, keepdims=True)
        text = tf.where(places == number, tokens.end_id, text)[:, : length - 1]
        text = tf.pad(text, [[0, 0], [1, 0]], constant_values=tokens.start_id)
        targets = ids[:, 1:]
        return {"text": {"token_ids": text, "before": ids[:, :-1]}}, targets, tf.cast(targets != 0, tf.float32)

    return token_batches(texts, tokens, make, length, batch_size, False, seed, shuffle_buffer)

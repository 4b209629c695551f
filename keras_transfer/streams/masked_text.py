"""The stream of masked language modelling: texts of which some tokens are hidden, anew in each epoch."""

import math

import tensorflow as tf

from keras_transfer.checks import check_flag, check_number
from keras_transfer.streams.texts import mask_of, token_batches


def masked_text(
    texts, tokens, length=128, batch_size=32, rate=0.15, whole_words=True, pack=False, seed=None, shuffle_buffer=10_000
):
    """Makes batches of texts with hidden tokens, and what these are.

    Of the words, or with `whole_words=False` of the tokens, a share `rate` is chosen; of their tokens 80 in a hundred
    become `[MASK]`, 10 another token, and 10 stay, but are predicted too. The remainder is dropped.

    Args:
        texts: array or list of strings `(rows,)`; integer array of token ids `(rows, length)`; `pathlib.Path` of a file
            with one text in a line, or a list of such; an unbatched `tf.data.Dataset` of strings; or a function that
            returns an iterator of strings. What is no array is read anew in each pass, a few batches at a time.
        tokens: `kt.layers.WordPiece` with a `[MASK]`.
        length: int of at least 3, tokens of a row.
        batch_size: int, rows of a batch.
        rate: float between 0 and 1.
        whole_words: bool, whether all pieces of a word are hidden together.
        pack: bool, whether texts follow one another in full rows, `[SEP]` between them, so that no text is cut and
            nothing is padding; otherwise a text is a row, cut at `length`.
        seed: int that makes order and choice reproducible; None draws one.
        shuffle_buffer: int, rows held to shuffle what is no array; arrays are shuffled whole.

    Returns:
        A `tf.data.Dataset` of `({"text": {"token_ids": (batch_size, length), "positions": (batch_size, hidden)}}, ids
        (batch_size, hidden), weights (batch_size, hidden))`; weights are 0 in places that are not used.

    Raises:
        ValueError: if the vocabulary has no `[MASK]`, texts are no strings in UTF-8, none has a token, or there are
            fewer rows than a batch.

    Reference:
        Devlin et al., BERT, NAACL 2019, arXiv:1810.04805; whole words as in the authors' later release.
    """
    check_number(rate, "rate", above=0, below=1)
    check_flag(whole_words, "whole_words")
    mask = mask_of(tokens)
    number = len(tokens.vocabulary)
    hidden = math.ceil(1.25 * rate * length)  # words that a row has beyond that stay as they are
    continues = tf.constant([token.startswith("##") for token in tokens.vocabulary])
    special = tf.constant([0, tokens.unknown_id, tokens.start_id, tokens.end_id])

    def make(ids, key):
        words = tf.range(length)[None] + tf.zeros_like(ids)
        if whole_words:
            words = tf.cumsum(tf.cast(~tf.gather(continues, ids), tf.int32), axis=1)
        draws = tf.random.stateless_uniform((batch_size, length + 1), key)
        draws = tf.gather(draws, words, batch_dims=1)
        plain = tf.reduce_all(ids[..., None] != special, axis=-1)
        ranked, positions = tf.math.top_k(-tf.where(plain, draws, 1.0), hidden)
        chosen = -ranked < rate
        word = tf.gather(words, positions, batch_dims=1)
        parts = tf.math.count_nonzero((word[..., None] == words[:, None]) & plain[:, None], axis=-1)
        there = tf.math.count_nonzero((word[..., None] == word[:, None]) & chosen[:, None], axis=-1)
        chosen &= parts == there  # no word in part
        was = tf.gather(ids, positions, batch_dims=1)
        kind = tf.random.stateless_uniform((batch_size, hidden), key + 1)
        others = tf.random.stateless_uniform((batch_size, hidden), key + 2, 0, number, tf.int32)
        becomes = tf.where(kind < 0.8, mask, tf.where(kind < 0.9, others, was))
        rows = tf.repeat(tf.range(batch_size)[:, None], hidden, axis=1)
        ids = tf.tensor_scatter_nd_update(ids, tf.stack([rows, positions], axis=-1), tf.where(chosen, becomes, was))
        x = {"text": {"token_ids": ids, "positions": positions}}
        return x, tf.where(chosen, was, 0), tf.cast(chosen, tf.float32)

    return token_batches(texts, tokens, make, length, batch_size, pack, seed, shuffle_buffer)

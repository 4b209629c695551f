"""Makes the table of `kt.layers.WordPiece` from TensorFlow Text: what each code point becomes inside a word.

`python -m tests.layers.word_piece_table` writes it; a test holds that it is what this makes.
"""

import numpy as np
import tensorflow as tf
from keras_hub.src.tokenizers.word_piece_tokenizer import pretokenize

from keras_transfer.layers.word_piece import TABLE

BREAK, ITSELF = 1, -1
SURROGATES = range(0xD800, 0xE000)


def table():
    """Returns the arrays: `page_of` pages of 256 code points, their `cells`, and of each cell `points` by `splits`.

    Between two letters a code point stays (its number is -1), goes, becomes others, or breaks the word (1).
    """
    cells, rows, known = np.zeros(0x110000, np.int64), [[ITSELF]], {(ITSELF,): 0}
    numbers = [c for c in range(0x110000) if c not in SURROGATES]
    for start in range(0, len(numbers), 1 << 16):
        some = numbers[start : start + (1 << 16)]
        words = pretokenize(tf.constant([f"a{chr(c)}a" for c in some]), lowercase=True, strip_accents=True)
        for c, found in zip(some, words.to_list()):
            text = chr(BREAK).join(word.decode() for word in found)[1:-1]
            row = tuple(ITSELF if letter == chr(c) else ord(letter) for letter in text)
            if row not in known:
                known[row] = len(rows)
                rows.append(row)
            cells[c] = known[row]
    pages, page_of = np.unique(cells.reshape(-1, 256), axis=0, return_inverse=True)
    return {
        "page_of": page_of.reshape(-1).astype("uint16"),
        "cells": pages.reshape(-1).astype("uint16"),
        "points": np.concatenate(rows).astype("int32"),
        "splits": np.cumsum([0, *map(len, rows)]).astype("uint32"),
    }


if __name__ == "__main__":
    np.savez_compressed(TABLE, **table())

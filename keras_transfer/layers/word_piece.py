"""BERT's tokenizer with operations of TensorFlow alone, so that what takes strings is served without a plug-in."""

import pathlib

import keras
import numpy as np

from keras_transfer.checks import check_flag, check_integer

TABLE = pathlib.Path(__file__).with_name("word_piece.npz")
PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
_BREAK = "\x01"  # a control character, which no word has
_LONGEST = 100  # bytes of a word; one that has more is unknown, as in the reference
_PUNCTUATION = r"[!-/]|[:-@]|[\[-`]|[{-~]|[\p{P}]"
_CJK = (
    r"[\x{4E00}-\x{9FFF}]|[\x{3400}-\x{4DBF}]|[\x{20000}-\x{2A6DF}]|[\x{2A700}-\x{2B73F}]|[\x{2B740}-\x{2B81F}]|"
    r"[\x{2B820}-\x{2CEAF}]|[\x{F900}-\x{FAFF}]|[\x{2F800}-\x{2FA1F}]"
)


@keras.saving.register_keras_serializable(package="keras_transfer")
class WordPiece(keras.layers.Layer):
    """Cuts texts into the pieces of words that BERT's vocabularies list, and numbers them (TensorFlow).

    A text is cut at white space; marks and Chinese characters are words of their own; with `lowercase` case is folded
    and accents are dropped. From each word the longest piece of the vocabulary is taken, then from its rest the longest
    that begins with `##`, and so on; a word that comes to no end so is unknown. All words of a batch go through the
    rounds together. Token for token that is keras_hub's `BertTokenizer` over TensorFlow Text, `strip_accents` on where
    case is folded, but for decomposed Hangul, decomposed vowel signs of Indic scripts, and NUL. Bytes that are not
    UTF-8 count as U+FFFD. `[CLS]` and the like inside a text are words as any others.

    A text has `sequence_length` tokens at most, `[CLS]` and `[SEP]` among them: what follows is cut off.

    Args:
        vocabulary: list of strings, `[PAD]` first, `[UNK]`, `[CLS]` and `[SEP]` among them; or the path of a file with
            one in a line.
        sequence_length: int of at least 3, the most tokens of a text.
        lowercase: bool, whether case and accents are dropped, as uncased vocabularies need it.
        fixed_length: bool, whether each batch is padded to `sequence_length`, rather than to its longest text.

    Call: texts `(batch,)`, strings, to token ids `(batch, tokens)`, int32, 0 behind the end.

    Raises:
        ValueError: if the vocabulary lacks one of those tokens, or names one twice.

    Example:

    ```python
    tokens = kt.layers.WordPiece("vocab.txt", sequence_length=64)
    ids = tokens(tf.constant(["A good film.", "A bad one."]))
    encoder = kt.backbones.small_transformer(len(tokens.vocabulary), length=64)
    ```

    Reference:
        Devlin et al., BERT, NAACL 2019, arXiv:1810.04805; Song et al., Fast WordPiece Tokenization, EMNLP 2021,
        arXiv:2012.15524, for what is the longest match.
    """

    def __init__(self, vocabulary, sequence_length=128, lowercase=True, fixed_length=False, **kwargs):
        super().__init__(**{"dtype": "int32", **kwargs})
        import tensorflow as tf

        self.vocabulary = _checked(vocabulary)
        self.sequence_length = check_integer(sequence_length, "sequence_length", 3)
        self.lowercase = check_flag(lowercase, "lowercase")
        self.fixed_length = check_flag(fixed_length, "fixed_length")
        self.supports_jit = False
        places = {token: place for place, token in enumerate(self.vocabulary)}
        self.unknown_id, self.start_id, self.end_id = (places[token] for token in (UNKNOWN, START, END))
        self.mask_id = places.get(MASK)
        with tf.init_scope():
            self._places = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(self.vocabulary, tf.range(len(self.vocabulary))), -1
            )
            self._lengths = tf.range(max(map(len, self.vocabulary)), 0, -1)
            if self.lowercase:
                with np.load(TABLE) as table:
                    self._page_of = tf.constant(table["page_of"], tf.int32)
                    self._cells = tf.constant(table["cells"], tf.int32)
                    self._points = tf.constant(table["points"], tf.int32)
                    self._splits = tf.constant(table["splits"], tf.int64)
        self.built = True

    def __call__(self, text, **kwargs):
        """Takes lists and arrays of strings too."""
        import tensorflow as tf

        known = isinstance(text, (str, list, tuple, np.ndarray))
        return super().__call__(tf.constant(text, tf.string) if known else text, **kwargs)

    def call(self, text):
        """Returns the token ids, between `[CLS]` and `[SEP]`."""
        return self.pack(self.tokenize(text), self.sequence_length, self.fixed_length)

    def pack(self, ids, length, fixed_length=True):
        """Returns rows of ids, as `tokenize` makes them, between `[CLS]` and `[SEP]`, as a tensor.

        Args:
            ids: `tf.RaggedTensor` `(batch, None)`.
            length: int of at least 3, the most tokens of a row.
            fixed_length: bool, whether rows are padded to that, rather than to the longest.
        """
        import tensorflow as tf

        ids = ids[:, : length - 2]
        start, end = (tf.fill((ids.nrows(), 1), edge) for edge in (self.start_id, self.end_id))
        return tf.concat([start, ids, end], axis=1).to_tensor(0, shape=(None, length) if fixed_length else None)

    def compute_output_spec(self, text):
        """Returns the shape and dtype of the token ids."""
        return keras.KerasTensor((text.shape[0], self.sequence_length if self.fixed_length else None), "int32")

    def tokenize(self, text):
        """Returns the token ids of texts `(batch,)` without `[CLS]` and `[SEP]`, uncut, as a `tf.RaggedTensor`."""
        import tensorflow as tf

        words = self._words(tf.convert_to_tensor(text, tf.string))
        return words.with_values(self._pieces(words.values)).merge_dims(1, 2)

    def too_long(self, texts, batch_size=1024):
        """Returns which texts have more tokens than `sequence_length`, so that some are cut off.

        Args:
            texts: array or list of strings `(rows,)`.
            batch_size: int, texts that are cut into pieces at once.

        Returns:
            NumPy array `(rows,)` of bools.
        """
        parts = [texts[i : i + batch_size] for i in range(0, len(texts), batch_size)]
        lengths = [self.tokenize(list(part)).row_lengths().numpy() for part in parts]
        return np.concatenate([np.zeros(0, int), *lengths]) > self.sequence_length - 2

    def get_config(self):
        """Returns the constructor's arguments."""
        names = ("vocabulary", "sequence_length", "lowercase", "fixed_length")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _words(self, text):
        """The words of each text, with case and accents dropped, as a ragged tensor of strings."""
        import tensorflow as tf

        if self.lowercase:
            points = tf.strings.unicode_decode(text, "UTF-8", errors="replace")
            flat = points.flat_values
            cells = tf.gather(self._cells, 256 * tf.gather(self._page_of, flat // 256) + flat % 256)
            made = tf.gather(tf.RaggedTensor.from_row_splits(self._points, self._splits, validate=False), cells)
            itself = tf.repeat(flat, made.row_lengths())
            made = made.with_values(tf.where(made.values < 0, itself, made.values))
            text = tf.strings.unicode_encode(points.with_values(made).merge_dims(1, 2), "UTF-8")
        else:
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
            text = tf.strings.regex_replace(text, r"\s|\p{Cc}|\p{Cf}", _BREAK)
            text = tf.strings.regex_replace(text, f"{_PUNCTUATION}|{_CJK}", rf"{_BREAK}\0{_BREAK}")
        words = tf.strings.split(text, _BREAK)
        return tf.ragged.boolean_mask(words, words != "")

    def _pieces(self, words):
        """The token ids of each word, as a ragged tensor: whole words at once, of others a piece in each round."""
        import tensorflow as tf

        whole = self._places.lookup(words)
        whole = tf.where((whole < 0) & (tf.strings.length(words) > _LONGEST), self.unknown_id, whole)
        at = tf.where(whole < 0)[:, 0]
        no_piece, no_end = -1, -2

        def longest(rest, found, prefix):
            number = tf.size(rest)
            lengths = tf.tile(self._lengths[None], (number, 1))
            begins = tf.strings.substr(
                tf.tile(rest[:, None], (1, tf.size(self._lengths))), tf.zeros_like(lengths), lengths, unit="UTF8_CHAR"
            )
            ids = self._places.lookup(tf.strings.join([prefix, begins]))
            best = tf.argmax(ids >= 0, axis=1)
            piece = tf.gather(ids, best, axis=1, batch_dims=1)
            done, stuck = rest == "", (piece < 0) & (rest != "")
            taken = tf.minimum(tf.gather(self._lengths, best), tf.strings.length(rest, unit="UTF8_CHAR"))
            rest = tf.strings.substr(rest, taken, tf.fill((number,), _LONGEST), unit="UTF8_CHAR")
            piece = tf.where(done, no_piece, tf.where(stuck, no_end, piece))
            return tf.where(stuck, "", rest), tf.concat([found, piece[:, None]], axis=1), "##"

        rest = tf.gather(words, at)
        _, found, _ = tf.while_loop(
            lambda rest, found, prefix: tf.reduce_any(rest != ""),
            longest,
            (rest, tf.zeros((tf.size(rest), 0), tf.int32), tf.constant("")),
            (tf.TensorShape([None]), tf.TensorShape([None, None]), tf.TensorShape([])),
        )
        first = tf.range(tf.shape(found)[1])[None] == 0
        unknown = tf.where(first, self.unknown_id, no_piece)
        found = tf.where(tf.reduce_any(found == no_end, axis=1)[:, None], unknown, found)
        width = tf.maximum(tf.shape(found)[1], 1)
        found = tf.pad(found, [[0, 0], [0, width - tf.shape(found)[1]]], constant_values=no_piece)
        alone = tf.pad(whole[:, None], [[0, 0], [0, width - 1]], constant_values=no_piece)
        ids = tf.tensor_scatter_nd_update(alone, at[:, None], found)
        return tf.ragged.boolean_mask(ids, ids >= 0)


def _checked(vocabulary):
    """The list of tokens, read from a file where it is a path."""
    if isinstance(vocabulary, (str, pathlib.Path)):
        lines = pathlib.Path(vocabulary).read_text(encoding="utf-8").split("\n")
        vocabulary = [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    vocabulary = [str(token) for token in vocabulary]
    lacking = [token for token in (PAD, UNKNOWN, START, END) if token not in vocabulary]
    if lacking or vocabulary[0] != PAD:
        found = f"{len(vocabulary)} tokens without {', '.join(lacking)}" if lacking else f"{vocabulary[0]!r} first"
        raise ValueError(
            f"Expected a `vocabulary` that begins with {PAD} and has {UNKNOWN}, {START}, {END}; received {found}."
        )
    twice = len(vocabulary) - len(set(vocabulary))
    if twice:
        raise ValueError(f"Expected each token once in the `vocabulary`; received {twice} more than once.")
    if "" in vocabulary:
        raise ValueError(f"Expected no empty token in the `vocabulary`; received one, number {vocabulary.index('')}.")
    return vocabulary

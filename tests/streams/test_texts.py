"""The streams of text: hidden and scrambled tokens, pairs of sentences, and texts larger than memory."""

import itertools
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt

WORDS = [f"w{i}" for i in range(40)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS, *(f"##{i}" for i in range(10)), "w"]
MASK = 4


def tokens(length=16):
    return kt.layers.WordPiece(VOCABULARY, length)


def texts(rows=64, words=10, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([" ".join(rng.choice(WORDS, words)) for _ in range(rows)], object)


def first(stream):
    x, y, weights = next(stream.as_numpy_iterator())
    return x["text"], y, weights


# Masked.


def test_a_share_is_hidden_and_told():
    stream = kt.streams.masked_text(texts(512), tokens(), length=16, batch_size=512, rate=0.3, seed=0)
    whole = tokens(16)(texts(512)).numpy()
    x, y, weights = first(stream)
    share = weights.sum() / (512 * 10)
    assert 0.25 < share < 0.32
    now = np.take_along_axis(x["token_ids"], x["positions"], axis=1)
    told = weights > 0
    assert 0.77 < (now[told] == MASK).mean() < 0.83
    assert 0.08 < (now[told] == y[told]).mean() < 0.14  # stay, or become themselves
    assert (y[told] >= 5).all() and (y[~told] == 0).all()
    restored = x["token_ids"].copy()
    np.put_along_axis(restored, np.where(told, x["positions"], 0), np.where(told, y, 2), axis=1)  # place 0 is [CLS]
    rows = {row.tobytes() for row in np.pad(whole, ((0, 0), (0, 16 - whole.shape[1]))).astype("int32")}
    assert all(row.tobytes() in rows for row in restored)


def test_words_are_hidden_whole():
    long = np.array(["w9123 w8456 w7 w6989"] * 64, object)  # pieces: w9 ##1 ##2 ##3 and so on
    words = [range(1, 5), range(5, 9), range(9, 10), range(10, 14)]

    def cut(whole_words):
        x, _, weights = first(kt.streams.masked_text(long, tokens(), 16, 64, 0.3, whole_words, seed=0))
        hidden = [set(x["positions"][row][weights[row] > 0]) for row in range(64)]
        assert sum(map(len, hidden)) > 64
        return sum(0 < len(row & set(word)) < len(word) for row in hidden for word in words)

    assert cut(True) == 0 and cut(False) > 60


def test_masks_are_new_in_each_epoch_and_follow_the_seed():
    streams = [kt.streams.masked_text(texts(), tokens(), length=16, batch_size=16, seed=1) for _ in range(2)]
    one, other = ([x["text"]["positions"] for x, *_ in stream.as_numpy_iterator()] for stream in streams)
    np.testing.assert_array_equal(one, other)
    again = [x["text"]["positions"] for x, *_ in streams[0].as_numpy_iterator()]
    assert np.abs(np.array(again) - np.array(one)).max() > 0


def test_packed_rows_are_full_and_lose_nothing():
    x, _, _ = first(kt.streams.masked_text(texts(16, 10), tokens(), length=12, batch_size=16, pack=True, seed=0))
    assert x["token_ids"].shape == (16, 12) and (x["token_ids"] != 0).all() and (x["token_ids"][:, 0] == 2).all()


@pytest.mark.parametrize("pack", [False, True])
def test_files_iterables_and_datasets(tmp_path, pack):
    lines = texts(200).tolist()
    (tmp_path / "a.txt").write_text("\n".join(lines[:100]) + "\n\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(lines[100:]) + "\n", encoding="utf-8")
    sources = [
        [tmp_path / "a.txt", tmp_path / "b.txt"],
        lambda: iter(lines),
        tf.data.Dataset.from_tensor_slices(lines),
        np.array(lines, object),
    ]
    numbers = set()
    for source in sources:
        stream = kt.streams.masked_text(source, tokens(), length=12, batch_size=10, pack=pack, seed=0)
        for _ in range(2):
            numbers.add(sum(1 for _ in stream))
    assert numbers == {20}  # 200 rows of 12; packed 2,200 tokens in rows of 11


def test_memory_is_flat_on_gigabytes():
    """A stream of a hundred thousand texts holds a few thousand."""
    held = []

    def endless():
        for number in itertools.count():
            held.append(number)
            yield "w1 w2 w3 " * 3

    stream = kt.streams.masked_text(endless, tokens(), length=12, batch_size=16, seed=0, shuffle_buffer=100)
    for _ in stream.take(300):
        pass
    taken = len(held)
    assert taken < 300 * 16 + 100 + 16 * 1024  # read ahead: a few batches of 1,024
    assert sys.getsizeof(held) < 1e6


# Scrambled.


def test_what_is_scrambled_and_what_it_was():
    (x, y, weights) = first(
        kt.streams.scrambled_text(texts(256), tokens(), length=16, batch_size=256, delete=0.2, infill=0.3, seed=0)
    )
    was = np.concatenate([x["before"][:, :1], y], axis=1)
    assert (x["before"][:, 1:] == y[:, :-1]).all() and (weights == (y != 0)).all()
    assert (x["token_ids"][:, 0] == 2).all() and (was[:, 0] == 2).all()
    kept, masks = 0, 0
    for row, whole in zip(x["token_ids"], was):
        inside = row[1 : np.flatnonzero(row == 3)[0]]
        assert (row[np.flatnonzero(row == 3)[0] + 1 :] == 0).all()
        rest = list(whole[1:])
        for token in inside[inside != MASK]:
            rest.remove(token)  # each is one of the text's
        kept, masks = kept + (inside != MASK).sum(), masks + (inside == MASK).sum()
    assert 0.4 < kept / (256 * 10) < 0.7 and 0.05 < masks / (256 * 10) < 0.15


def test_nothing_to_do_is_the_text_itself():
    stream = kt.streams.scrambled_text(
        texts(), tokens(), length=16, batch_size=64, delete=0.0, infill=0.0, window=1, sentences=False, seed=0
    )
    x, y, _ = first(stream)
    np.testing.assert_array_equal(x["token_ids"], np.concatenate([x["before"][:, :1], y], axis=1))


def test_tokens_move_a_little_and_sentences_whole():
    moved, _, _ = first(kt.streams.scrambled_text(texts(), tokens(), 16, 64, 0.0, 0.0, 3, False, seed=0))
    places = [
        [list(whole[1:]).index(token) - place for place, token in enumerate(row[1:11])]
        for row, whole in zip(moved["token_ids"], moved["before"])
        if len(set(whole[1:11])) == 10
    ]
    assert np.abs(places).max() == 2 and (np.array(places) != 0).mean() > 0.3
    sentences = np.array(["w1 w2 . w3 w4 . w5"] * 64, object)
    x, _, _ = first(kt.streams.scrambled_text(sentences, tokens(), 16, 64, 0.0, 0.0, 1, True, seed=0))
    number = {token: place for place, token in enumerate(VOCABULARY)}
    whole = {tuple(number[t] for t in order.split()) for order in ("w1 w2 .", "w3 w4 .", "w5")}
    for row in x["token_ids"]:
        text = [t for t in row if t > 3]
        ends = [0, *(i + 1 for i, t in enumerate(text) if t in (number["."], number["w5"])), len(text)]
        assert {tuple(text[a:b]) for a, b in zip(ends, ends[1:]) if a < b} == whole
    assert len({row.tobytes() for row in x["token_ids"]}) == 6


# Pairs.


def test_pairs_of_itself_of_its_class_and_given_ones():
    rows, labels = texts(60), np.arange(60) % 3
    for batch in kt.streams.sentence_pairs(rows, 20, seed=0):
        np.testing.assert_array_equal(batch["view_1"], batch["view_2"])
    own = {text.encode(): label for text, label in zip(rows, labels)}
    stream, seen = kt.streams.sentence_pairs(rows, 20, labels, seed=0), []
    for _ in range(2):
        for batch in stream.as_numpy_iterator():
            assert all(own[a] == own[b] and a != b for a, b in zip(batch["view_1"], batch["view_2"]))
            seen += list(zip(batch["view_1"], batch["view_2"]))
    assert len(set(seen)) > 100  # other mates in another epoch
    (batch,) = kt.streams.sentence_pairs((rows, rows[::-1].copy()), 60, seed=0)
    place = {text.encode(): i for i, text in enumerate(rows)}
    assert all(place[a] + place[b] == 59 for a, b in zip(batch["view_1"].numpy(), batch["view_2"].numpy()))


# What is refused.


@pytest.mark.parametrize("make", [kt.streams.masked_text, kt.streams.scrambled_text])
def test_texts_that_are_none(make, tmp_path):
    cases = [
        (np.array(["", " "], object), "texts with tokens; received 2 that are empty"),
        (texts(3), "at least one batch of 32 rows; received 3"),
        (np.array([b"w1", b"\xff"], object), "UTF-8; received others in row 1"),
        (np.zeros((4, 3), "float32"), "`texts` .rows,. of strings; received float32"),
        ([tmp_path / "nothing.txt"], "Expected files; received .*nothing.txt"),
        (tf.data.Dataset.range(3), "a dataset of strings"),
        (lambda: iter(["w1"] * 3), "at least one batch of 32 rows of 16 tokens; received fewer"),
        (np.zeros((40, 5), "int32"), r"token ids \(rows, 16\)"),
    ]
    for source, message in cases:
        with pytest.raises(ValueError, match=message):
            make(source, tokens(), length=16)
    without = kt.layers.WordPiece([token for token in VOCABULARY if token != "[MASK]"])
    with pytest.raises(ValueError, match=r"with a \[MASK\]"):
        make(texts(), without)


def test_bytes_in_files_that_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"w1 w2\n\xff\xfe w3\n" * 40)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid formatting on input string"):
        list(kt.streams.masked_text(tmp_path / "a.txt", tokens(), length=16))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 100}, "at least 100; received 60 and 60"),
        ({"labels": [0] * 59 + [1]}, "at least 2 texts of each class; received one of class 1"),
        ({"labels": [0, -1] * 30}, "a label of each row in `labels`; received 30 below 0"),
        ({"labels": [0] * 3}, "60 labels of single texts; received 3"),
        ({"texts": np.arange(60)}, "of strings; received int64"),
    ],
)
def test_pairs_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        kt.streams.sentence_pairs(**{"texts": texts(60), "batch_size": 20, **change})

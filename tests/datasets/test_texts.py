import numpy as np
import pytest

import keras_transfer as kt


def test_docstrings_are_there_and_name_no_package():
    x, y = kt.datasets.docstrings()
    assert x.dtype == object and y.dtype == "int32" and len(x) == len(y) > 3000
    assert len(set(x)) == len(x) and list(x) == sorted(x)
    assert np.bincount(y).min() > 100 and set(y) == set(range(4))
    assert not [text for text in x if "keras" in text.lower() or "numpy" in text.lower()]
    assert all(len(text.split()) >= 8 for text in kt.datasets.docstrings(least_words=8)[0])


@pytest.mark.parametrize("split, rows", [("train", (6920, 8544)), ("validation", (872, 1101)), ("test", (1821, 2210))])
def test_sentiment_of_sentences(data_folder, split, rows):
    for classes, number in zip((2, 5), rows):
        x, y = kt.datasets.sst(split, classes)
        assert len(x) == len(y) == number and set(y) == set(range(classes)) and x.dtype == object
    if split == "test":
        x, y = kt.datasets.sst(split)
        assert x[0] == "no movement , no yuks , not much of anything ." and y[0] == 0


@pytest.mark.parametrize("task, rows", [("emotion", (3257, 374, 1421)), ("irony", (2862, 955, 784))])
def test_tweets(data_folder, task, rows):
    for split, number in zip(("train", "validation", "test"), rows):
        x, y = kt.datasets.tweet_eval(task, split)
        assert len(x) == len(y) == number and set(y) == set(range(len(kt.datasets.TWEET_CLASSES[task])))


def test_movie_reviews(data_folder):
    x, y = kt.datasets.movie_reviews()
    assert len(x) == 2000 and np.bincount(y).tolist() == [1000, 1000]
    assert 500 < np.mean([len(text.split()) for text in x]) < 1000


def test_what_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`classes` to be 2 or 5; received 3"):
        kt.datasets.sst(classes=3)
    with pytest.raises(ValueError, match="`split` to be one of .*received 'dev'"):
        kt.datasets.sst("dev")
    with pytest.raises(ValueError, match="`task` to be one of .*received 'hate'"):
        kt.datasets.tweet_eval("hate")
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    for folder in ("sentences", "tweeteval/irony", "text_nltk"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "sentences/stsa.binary.train").write_text("1 good\n0 bad\n")
    with pytest.raises(ValueError, match="6920 rows in .*; received 2"):
        kt.datasets.sst()
    (tmp_path / "sentences/stsa.binary.test").write_text("1 good\n2 bad\n")
    with pytest.raises(ValueError, match="labels from 0 to 1 in .*received '2' in line 2"):
        kt.datasets.sst("test")
    (tmp_path / "text_nltk/movie_reviews.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="a zip file of reviews"):
        kt.datasets.movie_reviews()

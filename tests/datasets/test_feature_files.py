"""Data sets that come as features: reviews, and histograms of Office-Caltech."""

import numpy as np
import pytest
from scipy.io import savemat

from keras_transfer.datasets import AMAZON_DOMAINS, OFFICE_CALTECH_DOMAINS, amazon_reviews, office_caltech


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    for name in ("amazon_reviews", "office_caltech_surf"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_reviews_read_counts(folder):
    (folder / "amazon_reviews/books_test.svmlight").write_text("1 0:6 4999:2\n-1 7:1\n")
    counts, labels = amazon_reviews("books", "test")
    assert counts.shape == (2, 5000) and counts.dtype == np.float32 and counts.sum() == 9
    assert counts[0, 0] == 6 and counts[0, 4999] == 2 and counts[1, 7] == 1
    np.testing.assert_array_equal(labels, [1, 0])


@pytest.mark.parametrize("text, message", [("words\n", "word:count"), ("3 0:1\n", "labels -1 and 1"), ("", "Expected")])
def test_reviews_say_what_is_wrong(folder, text, message):
    (folder / "amazon_reviews/books_train.svmlight").write_text(text)
    with pytest.raises(ValueError, match=message):
        amazon_reviews("books")


def test_office_caltech_reads_counts(folder):
    counts = np.random.default_rng(0).integers(0, 50, (3, 800)).astype("uint8")
    savemat(folder / "office_caltech_surf/dslr_SURF_L10.mat", {"fts": counts, "labels": np.array([[1], [10], [3]])})
    found, labels = office_caltech("dslr")
    np.testing.assert_array_equal(found, counts)
    np.testing.assert_array_equal(labels, [0, 9, 2])


@pytest.mark.parametrize(
    "content, message",
    [
        ({"fts": np.zeros((3, 8)), "labels": np.zeros(3)}, "from 1 to 10"),
        ({"fts": np.zeros((3, 8)), "labels": np.ones(2)}, r"received shapes \(3, 8\) and \(2,\)"),
        ({}, r"received shapes \(0,\) and \(0,\)"),
        (None, "to be a file of MATLAB"),
    ],
)
def test_office_caltech_says_what_is_wrong(folder, content, message):
    path = folder / "office_caltech_surf/dslr_SURF_L10.mat"
    path.write_bytes(b"words" * 100) if content is None else savemat(path, content)
    with pytest.raises(ValueError, match=message):
        office_caltech("dslr")


def test_unknown_domains_and_missing_files(folder):
    with pytest.raises(ValueError, match="one of .'books', 'dvd', 'electronics'.; received 'kitchen'"):
        amazon_reviews("kitchen")
    with pytest.raises(ValueError, match="received 'kitchen'"):
        office_caltech("kitchen")
    with pytest.raises(ValueError, match="It is not downloaded"):
        office_caltech("amazon")


def test_published_files(data):
    data("amazon_reviews")
    data("office_caltech_surf")
    rows = dict(zip(AMAZON_DOMAINS, (4465, 3586, 5681)))
    for domain in AMAZON_DOMAINS:
        counts, labels = amazon_reviews(domain)
        assert counts.shape == (2000, 5000) and labels.sum() == 1000
    assert len(amazon_reviews("dvd", "test")[1]) == rows["dvd"]
    for domain, number in zip(OFFICE_CALTECH_DOMAINS, (1123, 958, 295, 157)):
        counts, labels = office_caltech(domain)
        assert counts.shape == (number, 800) and set(labels.tolist()) == set(range(10))

import gzip

import numpy as np
import pytest

from keras_transfer.datasets import usps


def row(label, values):
    return f"{label:.4f} " + " ".join(f"{v:.4f}" for v in values) + " \n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    (tmp_path / "usps").mkdir()
    return lambda text: (tmp_path / "usps" / "zip.test.gz").write_bytes(gzip.compress(text.encode()))


def test_usps_reads_rows(write):
    ramp = np.linspace(-1, 1, 256)
    write(row(6, ramp) + row(0, -ramp))
    images, labels = usps("test")
    assert images.shape == (2, 16, 16, 1) and images.dtype == np.uint8 and labels.dtype == np.int32
    np.testing.assert_array_equal(images[0].ravel(), np.arange(256))
    np.testing.assert_array_equal(images[1].ravel(), np.arange(256)[::-1])
    np.testing.assert_array_equal(labels, [6, 0])
    assert usps("test", 28)[0].shape == (2, 28, 28, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (row(6, [0] * 256) + row(1, [0] * 100), r"rows of 257 numbers in .*zip\.test\.gz; received 101 in row 1"),
        (row(6, [0] * 256).replace("6.", "six."), r"rows of 257 numbers in .*zip\.test\.gz; received: .*six"),
        ("", r"rows of 257 numbers in .*zip\.test\.gz; received none"),
        (row(11, [0] * 256), "labels 0-9 .* received labels from 11 to 11"),
        (row(6, [127.5] * 256), "values from -1 to 1 .* received .* values from 127.5 to 127.5"),
    ],
)
def test_usps_names_what_is_wrong_in_a_file(write, text, message):
    write(text)
    with pytest.raises(ValueError, match=message):
        usps("test")


def test_usps_unknown_split():
    with pytest.raises(ValueError, match='"train" or "test"; received \'valid\''):
        usps("valid")


def test_published_usps(data):
    data("usps")
    for split, counts in (
        ("train", [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]),  # as zip.info.txt counts them
        ("test", [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]),
    ):
        images, labels = usps(split)
        assert images.shape == (sum(counts), 16, 16, 1) and images.dtype == np.uint8
        assert images.min() == 0 and images.max() == 255
        assert np.bincount(labels).tolist() == counts


def test_truncated_published_usps(data, tmp_path, monkeypatch):
    content = (data("usps") / "zip.test.gz").read_bytes()
    (tmp_path / "usps").mkdir()
    (tmp_path / "usps" / "zip.test.gz").write_bytes(content[:-1000])
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"zip\.test\.gz to be a complete gzip file"):
        usps("test")

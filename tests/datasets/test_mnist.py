import gzip
import shutil
import struct

import numpy as np
import pytest
from PIL import Image

from keras_transfer.datasets import mnist, mnist_m, mnist_m_like

IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data folder with an MNIST of five test images, written by hand."""
    pixels = np.random.default_rng(0).integers(256, size=(5, 28, 28, 1), dtype=np.uint8)
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / IMAGES).write_bytes(gzip.compress(struct.pack(">4I", 2051, 5, 28, 28) + pixels.tobytes()))
    (folder / LABELS).write_bytes(gzip.compress(struct.pack(">2I", 2049, 5) + bytes([3, 1, 4, 1, 5])))
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    return folder, pixels


def test_mnist_reads_idx_files(tiny):
    images, labels = mnist("test")
    np.testing.assert_array_equal(images, tiny[1])
    np.testing.assert_array_equal(labels, [3, 1, 4, 1, 5])
    assert images.dtype == np.uint8 and labels.dtype == np.int32 and images.flags.writeable


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, struct.pack(">4I", 2049, 5, 28, 28), "magic number 2051; received 2049"),
        (LABELS, b"", "magic number 2049; received 0"),
        (IMAGES, struct.pack(">2I", 2051, 5)[:7], "unpack to .* bytes.*; received 7"),
        (IMAGES, struct.pack(">4I", 2051, 5, 28, 28) + bytes(100), "unpack to 3936 bytes.*; received 116"),
        (LABELS, struct.pack(">2I", 2049, 4) + bytes(4), "as many MNIST test labels as images; received 4, 5"),
    ],
)
def test_mnist_names_what_is_wrong_in_a_file(tiny, name, content, message):
    (tiny[0] / name).write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=message):
        mnist("test")


def test_mnist_unknown_split():
    for load in (mnist, mnist_m, mnist_m_like):
        with pytest.raises(ValueError, match='"train" or "test"; received \'valid\''):
            load("valid")


def test_mnist_m_like_blends_photos_of_a_folder(tiny, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.full((30, 40, 3), (10, 100, 250), np.uint8)).save(folder / "1.png")
    images, labels = mnist_m_like("test", photos=folder)
    np.testing.assert_array_equal(images, np.abs(np.array([10, 100, 250]) - tiny[1].astype(int)))
    assert images.dtype == np.uint8 and labels.dtype == np.int32


def test_published_mnist(data):
    data("mnist")
    images, labels = mnist("test")
    assert images.shape == (10000, 28, 28, 1) and images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    # the digits' numbers as everyone counts them
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_truncated_published_mnist(data, tmp_path, monkeypatch):
    source = data("mnist")
    (tmp_path / "mnist").mkdir()
    shutil.copyfile(source / LABELS, tmp_path / "mnist" / LABELS)
    (tmp_path / "mnist" / IMAGES).write_bytes((source / IMAGES).read_bytes()[:500_000])
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=f"{IMAGES} to be a complete gzip file"):
        mnist("test")


def test_published_photos(data):
    data("mnist"), data("bsds500_train")
    images, labels = mnist_m_like("test")
    assert images.shape == (10000, 28, 28, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, mnist("test")[1])
    np.testing.assert_array_equal(images, mnist_m_like("test")[0])
    assert (images != mnist_m_like("test", seed=1)[0]).any()


@pytest.fixture
def tiny_m(tmp_path, monkeypatch):
    """A data folder with an MNIST-M of two images, written by hand."""
    folder = tmp_path / "mnist_m" / "mnist_m_test"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)
    for name, image in zip(("1.png", "0.png"), pixels):
        Image.fromarray(image).save(folder / name)
    listed = folder.parent / "mnist_m_test_labels.txt"
    listed.write_text("1.png 7\n0.png 4\n")
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    return listed, pixels


def test_mnist_m_reads_what_is_listed(tiny_m):
    images, labels = mnist_m("test")
    np.testing.assert_array_equal(images, tiny_m[1])
    np.testing.assert_array_equal(labels, [7, 4])
    assert images.dtype == np.uint8 and labels.dtype == np.int32 and mnist_m("test", 28)[0].shape == (2, 28, 28, 3)


@pytest.mark.parametrize(
    "rows, message",
    [
        ("1.png 7 4\n", "rows of a file and a label 0-9"),
        ("1.png 17\n", "rows of a file and a label 0-9"),
        ("2.png 7\n", "2.png"),
        ("", "at least one"),
    ],
)
def test_mnist_m_says_what_is_wrong(tiny_m, rows, message):
    tiny_m[0].write_text(rows)
    with pytest.raises(ValueError, match=message):
        mnist_m("test")


def test_mnist_m_is_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="It is not downloaded"):
        mnist_m("test")

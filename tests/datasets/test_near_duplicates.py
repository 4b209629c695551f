import importlib
import io

import numpy as np
import pytest
from PIL import Image

from keras_transfer.datasets import image_files, near_duplicates, thumbnails
from tests.pictures import numbered

rng = np.random.default_rng(0)


def scenes(number=30, side=64):
    """Different smooth colour pictures: 5 x 5 random colours, enlarged."""
    small = rng.integers(0, 256, (number, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in small])


def encoded(image, side, quality):
    file = io.BytesIO()
    Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def test_copies_are_found_and_other_pictures_are_not():
    images = scenes()
    assert near_duplicates(images).tolist() == []
    copies = np.stack([encoded(images[place], 40, 70) for place in (7, 3, 20)])
    assert near_duplicates(images, copies).tolist() == [[3, 1], [7, 0], [20, 2]]
    together = np.concatenate([images, [encoded(image, 64, 40) for image in images[:2]]])
    assert near_duplicates(together).tolist() == [[0, 30], [1, 31]]
    darker = np.rint(images[4:6] * 0.7 + 10).astype("uint8")  # brightness and contrast
    assert near_duplicates(darker, images).tolist() == [[0, 4], [1, 5]]
    grey = images[..., :1]
    assert near_duplicates(grey, grey[[8]]).tolist() == [[8, 0]]


def test_many_are_compared_in_parts(monkeypatch):
    module = importlib.import_module("keras_transfer.datasets.near_duplicates")  # the room has a function of that name
    monkeypatch.setattr(module, "_ROWS", 7)
    monkeypatch.setattr(module, "_BATCH", 4)
    images = scenes(20)
    images[[13, 19]] = images[[2, 6]]
    assert near_duplicates(images).tolist() == [[2, 13], [6, 19]]
    small = thumbnails(images)
    np.testing.assert_array_equal(near_duplicates(small, small[10:]), near_duplicates(images, images[10:]))


def test_thumbnails_are_means_of_areas():
    """Against the areas of an image whose side 8 divides, and of one enlarged thrice, so that borders cut pixels."""
    image = rng.integers(0, 256, (1, 24, 16, 3), dtype=np.uint8)
    means = image.reshape(8, 3, 8, 2, 3).mean(axis=(1, 3)).ravel()
    means -= means.mean()
    expected = means / np.linalg.norm(means)
    np.testing.assert_allclose(thumbnails(image)[0], expected, atol=1e-6)
    odd = rng.integers(0, 256, (1, 11, 5, 1), dtype=np.uint8)
    whole = odd.repeat(8, axis=1).repeat(8, axis=2)  # 88 x 40: of 8 areas a side, none cuts a pixel
    np.testing.assert_allclose(thumbnails(odd), thumbnails(whole), atol=1e-6)


def test_one_tone_has_no_copy():
    flat = np.full((3, 9, 9, 3), 200, np.uint8)
    assert not thumbnails(flat).any() and len(near_duplicates(flat)) == 0


def test_files_are_read(tmp_path):
    files = image_files(numbered(tmp_path, 3), 16)
    for path, image in zip(files.paths, scenes(2)[[0, 1, 0]]):
        Image.fromarray(image).save(path)
    assert near_duplicates(files).tolist() == [[0, 2]]
    assert near_duplicates(files, files.subset([1])).tolist() == [[1, 0]]
    assert len(near_duplicates(files.subset([]))) == 0


def test_bad_input():
    with pytest.raises(ValueError, match=r"of shape \(n, height, width, channels\); received \(4, 4, 3\)"):
        near_duplicates(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="`similarity` to be a finite number.*; received 98"):
        near_duplicates(scenes(2), similarity=98)
    with pytest.raises(ValueError, match="as many channels; received thumbnails of 192 and 64 values"):
        near_duplicates(scenes(2), scenes(2)[..., :1])

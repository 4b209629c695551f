import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from keras_transfer.datasets.images import blend_into_photos, read_photos, resize


def test_resize_is_bilinear():
    image = np.array([[0, 100], [200, 40]], np.uint8).reshape(1, 2, 2, 1)
    once, none = resize(image, 4), resize(image, None)
    weights = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])  # centres at 1/4, 3/4, 5/4, 7/4, held at the edges
    np.testing.assert_array_equal(once[0, ..., 0], np.rint(weights @ image[0, ..., 0] @ weights.T))
    assert once.dtype == np.uint8 and none is image
    with pytest.raises(ValueError, match="`image_size` to be at least 1 pixel; received 0"):
        resize(image, 0)


def test_blend_is_the_absolute_difference_with_a_patch():
    rng = np.random.default_rng(0)
    digits = rng.integers(256, size=(40, 3, 3, 1), dtype=np.uint8)
    photos = [rng.integers(256, size=(h, w, 3), dtype=np.uint8) for h, w in ((3, 5), (6, 4))]
    blended = blend_into_photos(digits, photos, seed=1)
    assert blended.shape == (40, 3, 3, 3) and blended.dtype == np.uint8
    found = set()
    for digit, image in zip(digits.astype(int), blended):  # every image comes from one place, compared pixel by pixel
        places = [
            (i, y, x)
            for i, photo in enumerate(photos)
            for y in range(photo.shape[0] - 2)
            for x in range(photo.shape[1] - 2)
            if (np.abs(photo[y : y + 3, x : x + 3].astype(int) - digit) == image).all()
        ]
        assert len(places) == 1
        found.update(places)
    assert len(found) == 3 + 8  # and every place is drawn: 1 x 3 in the first, 4 x 2 in the second photograph
    np.testing.assert_array_equal(blended, blend_into_photos(digits, photos, seed=1))
    assert (blended != blend_into_photos(digits, photos, seed=2)).any()


def test_blend_needs_large_photos():
    with pytest.raises(ValueError, match="at least 8 x 8 pixels; received a side of 7"):
        blend_into_photos(np.zeros((1, 8, 8, 1), np.uint8), [np.zeros((7, 9, 3), np.uint8)], seed=0)


def _png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def test_read_photos_of_a_folder(tmp_path):
    for value in (2, 1):
        (tmp_path / f"{value}.png").write_bytes(_png(value))
    (tmp_path / "notes.txt").write_text("not a photograph")
    Image.fromarray(np.full((4, 6), 3, np.uint8)).save(tmp_path / "3.JPG", "jpeg")  # grey
    photos = read_photos(tmp_path)
    assert [photo.shape for photo in photos] == [(4, 6, 3)] * 3
    assert [photo[0, 0, 0] for photo in photos] == [1, 2, 3]


def test_read_photos_of_the_archive_takes_its_train_images(tmp_path):
    archive = tmp_path / "BSR_bsds500.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, value in (("train/1.jpg", 1), ("test/2.jpg", 2), ("train/Thumbs.db", 3)):
            member = tarfile.TarInfo(f"BSR/BSDS500/data/images/{name}")
            member.size = len(_png(value))
            tar.addfile(member, io.BytesIO(_png(value)))
    (photo,) = read_photos(archive)
    assert (photo == 1).all()
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"BSR_bsds500\.tgz to be a complete archive"):
        read_photos(archive)


def test_read_photos_names_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="photographs; received .*nowhere"):
        read_photos(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="received none"):
        read_photos(tmp_path)
    (tmp_path / "1.png").write_bytes(_png(1)[:40])
    with pytest.raises(ValueError, match=r"1\.png to be a complete photograph"):
        read_photos(tmp_path)

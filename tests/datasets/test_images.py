import io
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from keras_transfer.datasets.images import blend_into_photos, read_photo, read_photos, resize


def test_resize_is_bilinear():
    image = np.array([[0, 100], [200, 40]], np.uint8).reshape(1, 2, 2, 1)
    once, none = resize(image, 4), resize(image, None)
    weights = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])  # centres at 1/4, 3/4, 5/4, 7/4, held at the edges
    np.testing.assert_array_equal(once[0, ..., 0], np.rint(weights @ image[0, ..., 0] @ weights.T))
    assert once.dtype == np.uint8 and none is image
    with pytest.raises(ValueError, match="`image_size` to be at least 1 pixel.* received 0"):
        resize(image, 0)


def test_resize_to_another_shape():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    halves = resize(image, (4, 2))
    assert halves.shape == (1, 4, 2, 1)
    # Antialiased by two, a triangle of weights 1, 3, 3, 1: at the edge the 1 that is outside falls away.
    np.testing.assert_array_equal(halves[0, 0, :, 0], np.rint([(3 * 0 + 3 * 1 + 2) / 7, (1 + 3 * 2 + 3 * 3) / 7]))


@pytest.mark.parametrize("size", [(4,), (4, 4, 3), (4, 0), 4.0, "4", True, (4, 2.5)])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match=r"an integer or a pair \(height, width\); received " + re.escape(repr(size))):
        resize(np.zeros((1, 2, 2, 1), np.uint8), size)


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


# Pictures as people have them.


def saved(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def read(path, **options):
    return read_photo(path, str(path), **options)


RAMP = np.linspace(0, 65535, 48 * 64).astype("uint16").reshape(48, 64)


@pytest.mark.parametrize("name", ["ramp.png", "ramp.tif"])
def test_16_bits_keep_the_ramp(tmp_path, name):
    photo = read(saved(tmp_path / name, RAMP))
    np.testing.assert_array_equal(photo, np.repeat(np.rint(RAMP / 257)[..., None], 3, axis=-1))
    assert photo.dtype == np.uint8 and photo.min() == 0 and photo.max() == 255


def test_16_bits_are_what_keras_reads(tmp_path):
    """TensorFlow's reader drops the lower byte, which differs from rounding by at most one."""
    tf = pytest.importorskip("tensorflow")
    path = saved(tmp_path / "ramp.png", RAMP)
    theirs = tf.io.decode_image(path.read_bytes(), channels=3).numpy().astype(int)
    assert np.abs(read(path).astype(int) - theirs).max() <= 1


def test_16_bits_whose_white_is_zero(tmp_path):
    path = saved(tmp_path / "negative.tif", RAMP, tiffinfo={262: 0})
    np.testing.assert_array_equal(read(path)[..., 0], np.rint((65535 - RAMP.astype(int)) / 257))


def test_floats_from_0_to_1(tmp_path):
    path = saved(tmp_path / "ramp.tif", (RAMP / 65535).astype("float32"))
    np.testing.assert_allclose(read(path)[..., 2], RAMP / 257, atol=0.51)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.float32([[0, 255]]), "ramp.tif to hold floats from 0 to 1; received floats from 0 to 255; convert it"),
        (np.float32([[-0.5, 1]]), "floats from -0.5 to 1"),
        (np.float32([[0, np.nan]]), "floats from nan to nan"),
        (np.int32([[0, 100_000]]), "ramp.tif to hold values of 8 or 16 bits, or floats; received integers of 32 bits"),
    ],
)
def test_values_whose_white_is_unknown(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        read(saved(tmp_path / "ramp.tif", array))


INK = np.zeros((4, 4, 4), np.uint8)
INK[0, :, 3] = 255  # a black line
INK[1, :, 3] = 51  # a fifth of one


@pytest.mark.parametrize(
    "name, mode", [("ink.png", "RGBA"), ("ink.png", "LA"), ("ink.webp", "RGBA"), ("ink.tif", None)]
)
def test_ink_on_transparent_ground(tmp_path, name, mode):
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(tmp_path / name, INK, mode, **options)
    np.testing.assert_array_equal(read(path)[:, 0, 0], [0, 204, 255, 255])
    np.testing.assert_array_equal(read(path, ground=0), 0)


def test_a_palette_and_a_16_bit_grey_with_a_transparent_value(tmp_path):
    grey = np.uint8([[0, 0, 100, 255]])
    image = Image.fromarray(grey).convert("P")
    clear = image.getpixel((2, 0))
    image.save(tmp_path / "palette.png", transparency=clear)
    np.testing.assert_array_equal(read(tmp_path / "palette.png")[0, :, 1], [0, 0, 255, 255])
    path = saved(tmp_path / "deep.png", np.uint16([[0, 257, 25700]]), transparency=257)
    np.testing.assert_array_equal(read(path)[0, :, 1], [0, 255, 100])


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_photos_are_turned_upright(tmp_path):
    gradient = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))  # from left to right, 64 wide
    saved(tmp_path / "1.png", gradient, exif=turned(6))  # the camera on its side: turn by 90 degrees with the clock
    saved(tmp_path / "2.png", 257 * gradient.astype("uint16"), exif=turned(3))
    first, second = read_photos(tmp_path)
    np.testing.assert_array_equal(first[..., 0], np.rot90(gradient, -1))
    np.testing.assert_array_equal(second[..., 0], gradient[::-1, ::-1])


def test_files_that_macos_leaves_are_passed_over(tmp_path):
    (tmp_path / "x.jpg").write_bytes(_png(1))
    (tmp_path / "._x.jpg").write_bytes(b"\x00\x05\x16\x07 AppleDouble")
    assert len(read_photos(tmp_path)) == 1


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "tiff", "gif", "WEBP"])
def test_more_formats(tmp_path, suffix):
    saved(tmp_path / f"x.{suffix}", np.full((4, 6, 3), 255, np.uint8))
    (photo,) = read_photos(tmp_path)
    np.testing.assert_array_equal(photo, np.full((4, 6, 3), 255))


@pytest.mark.parametrize("suffix", ["heic", "svg", "CR2"])
def test_formats_that_are_not_read_are_named(tmp_path, suffix):
    (tmp_path / "1.png").write_bytes(_png(1))
    (tmp_path / f"x.{suffix}").write_bytes(b"something")
    with pytest.raises(ValueError, match=rf"Expected photographs .jpg.*received .*x\.{suffix}. Convert it"):
        read_photos(tmp_path)


@pytest.mark.parametrize("pixels", [10, 20])  # of 24: an error from Pillow, and a warning that is made one
@pytest.mark.filterwarnings("error")
def test_a_bomb_is_named(tmp_path, monkeypatch, pixels):
    (tmp_path / "bomb.png").write_bytes(_png(1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(ValueError, match=r"bomb\.png to have at most as many pixels as Pillow opens; received"):
        read_photos(tmp_path)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage that it reads over
def test_damage_of_any_kind_is_named(tmp_path):
    """Pillow's readers raise errors of many classes."""
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg", "tif", "gif", "bmp", "webp"):
        path = saved(tmp_path / f"x.{suffix}", rng.integers(256, size=(8, 8, 3), dtype=np.uint8))
        whole = path.read_bytes()
        for _ in range(60):
            spoiled = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.5 else whole)
            for place in rng.integers(len(spoiled) or 1, size=3 if spoiled else 0):
                spoiled[place] = rng.integers(256)
            path.write_bytes(spoiled)
            try:
                assert read(path).dtype == np.uint8
            except ValueError as error:
                assert str(path) in str(error)


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

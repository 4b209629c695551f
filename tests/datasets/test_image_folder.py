import numpy as np
import pytest
from PIL import Image

from keras_transfer.datasets import image_folder, pacs

rng = np.random.default_rng(0)


def write(folder, name, size=(8, 6), **options):
    folder.mkdir(parents=True, exist_ok=True)
    array = rng.integers(0, 256, (size[1], size[0], 3)).astype("uint8")
    Image.fromarray(array).save(folder / name, **options)
    return array


def test_reads_in_the_order_of_classes_and_names(tmp_path):
    b2, b1 = write(tmp_path / "bee", "2.png"), write(tmp_path / "bee", "1.png")
    a = write(tmp_path / "ant", "9.png")
    write(tmp_path / ".hidden", "1.png")
    (tmp_path / "notes.txt").write_text("no class")
    images, labels, names = image_folder(tmp_path)
    np.testing.assert_array_equal(images, [a, b1, b2])
    assert images.dtype == "uint8" and labels.dtype == "int32"
    assert labels.tolist() == [0, 1, 1] and names == ("ant", "bee")


def test_takes_the_centred_square(tmp_path):
    array = write(tmp_path / "ant", "1.png", size=(10, 6))
    images, _, _ = image_folder(tmp_path, image_size=6)
    np.testing.assert_array_equal(images[0], array[:, 2:8])
    assert image_folder(tmp_path, image_size=3)[0].shape == (1, 3, 3, 3)


def test_turns_photographs_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    write(tmp_path / "ant", "1.jpg", size=(8, 6), exif=exif)
    assert image_folder(tmp_path)[0].shape == (1, 8, 6, 3)


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="nowhere'?, which is no folder"):
        image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="a folder of photographs for each class"):
        image_folder(tmp_path)
    (tmp_path / "ant").mkdir()
    with pytest.raises(ValueError, match="Expected .jpg or .png files in .*ant; received none"):
        image_folder(tmp_path)
    write(tmp_path / "ant", "1.png")
    write(tmp_path / "ant", "2.png", size=(4, 4))
    with pytest.raises(ValueError, match=r"of one size.*\(6, 8\).*\(4, 4\) in .*2.png"):
        image_folder(tmp_path)
    with pytest.raises(ValueError, match="at least 1 pixel; received 0"):
        image_folder(tmp_path, image_size=0)
    (tmp_path / "ant" / "3.png").write_bytes((tmp_path / "ant" / "1.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="3.png to be a complete photograph"):
        image_folder(tmp_path, image_size=4)


def test_pacs_says_where_it_belongs(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="one of .*'sketch'.*; received 'painting'"):
        pacs("painting")
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="pacs/photo/<class>/.*get it from its authors"):
        pacs("photo")
    write(tmp_path / "pacs" / "photo" / "cat", "1.png")
    with pytest.raises(ValueError, match="Expected the classes .*giraffe.*received .'cat',."):
        pacs("photo")


def test_pacs(data_folder):
    if not (data_folder / "pacs/art_painting").is_dir():
        pytest.skip("KERAS_TRANSFER_DATA lacks pacs/art_painting")
    images, labels = pacs("art_painting", image_size=16)
    assert images.shape == (2048, 16, 16, 3)
    assert np.bincount(labels).tolist() == [379, 255, 285, 184, 201, 295, 449]

import numpy as np
import pytest
from PIL import Image

from keras_transfer.datasets import image_folder, image_folders, pacs

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


def test_takes_the_centred_part_of_another_shape(tmp_path):
    array = write(tmp_path / "ant", "1.png", size=(10, 6))
    np.testing.assert_array_equal(image_folder(tmp_path, image_size=(6, 4))[0][0], array[:, 3:7])
    np.testing.assert_array_equal(image_folder(tmp_path, image_size=(2, 10))[0][0], array[2:4])
    assert image_folder(tmp_path, image_size=(32, 48))[0].shape == (1, 32, 48, 3)


def test_every_format_has_its_row(tmp_path):
    for suffix in ("jpg", "JPEG", "png", "webp", "bmp", "tif", "tiff", "gif"):
        write(tmp_path / "ant", f"1.{suffix}")
    (tmp_path / "ant" / "._1.jpg").write_bytes(b"AppleDouble")
    (tmp_path / "ant" / "Thumbs.db").write_bytes(b"no picture")
    write(tmp_path / "__MACOSX" / "ant", "1.png")
    assert image_folder(tmp_path)[0].shape == (8, 6, 8, 3)
    (tmp_path / "ant" / "2.heic").write_bytes(b"a picture")
    with pytest.raises(ValueError, match="2.heic. Convert it to .png or .jpg"):
        image_folder(tmp_path)


def test_photographs_of_no_class_are_refused(tmp_path):
    write(tmp_path / "cropped", "1.png")
    write(tmp_path, "2.png")
    with pytest.raises(ValueError, match="received 1 that lie beside such folders, 2.png among them"):
        image_folder(tmp_path)
    (tmp_path / "2.png").unlink()
    write(tmp_path / "cropped" / "again", "3.png")
    with pytest.raises(ValueError, match="Expected photographs in .*cropped, .*; received some in .*again, below it"):
        image_folder(tmp_path)


def test_the_ground_under_transparent_pixels(tmp_path):
    (tmp_path / "ant").mkdir()
    Image.new("RGBA", (4, 4)).save(tmp_path / "ant" / "1.png")
    assert (image_folder(tmp_path)[0] == 255).all() and (image_folder(tmp_path, ground=9)[0] == 9).all()
    with pytest.raises(ValueError, match="`ground` to be an integer from 0 to 255; received 256"):
        image_folder(tmp_path, ground=256)


# Folders of one study.


def study(tmp_path, **folders):
    """Folders of classes with one photograph each."""
    for folder, classes in folders.items():
        for name in classes:
            write(tmp_path / folder / name, "1.png")
    return {folder: tmp_path / folder for folder in folders}


def test_class_names_number_the_classes(tmp_path):
    paths = study(tmp_path, source=["ant", "bee", "horse"], target=["ant", "horse"])
    names = ("ant", "bee", "horse")
    assert image_folder(paths["target"])[1].tolist() == [0, 1]  # the folder's own listing
    images, labels, found = image_folder(paths["target"], class_names=names)
    assert labels.tolist() == [0, 2] and found == names and len(images) == 2
    assert image_folder(paths["source"], class_names=list(names[::-1]))[1].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(
        image_folder(paths["source"], class_names=names[::-1])[0], image_folder(paths["source"])[0][::-1]
    )


def test_class_names_are_checked(tmp_path):
    paths = study(tmp_path, source=["ant", "bee"])
    with pytest.raises(ValueError, match="Expected the classes .'ant',. in .*; received folders of others: .'bee',."):
        image_folder(paths["source"], class_names=["ant"])
    with pytest.raises(ValueError, match="each of `class_names` once; received 'ant' more than once"):
        image_folder(paths["source"], class_names=["ant", "bee", "ant"])
    for wrong in ([], [0, 1]):
        with pytest.raises(ValueError, match="`class_names` to be strings; received"):
            image_folder(paths["source"], class_names=wrong)


def test_accents_are_one_name_however_they_are_written(tmp_path):
    composed, apart = "b\u00e9b\u00e9", "be\u0301be\u0301"
    paths = study(tmp_path, source=[composed], target=[apart])
    assert image_folders(paths)[1] == (composed,)
    assert image_folder(paths["target"], class_names=[apart])[1].tolist() == [0]
    study(tmp_path, source=[apart])
    with pytest.raises(ValueError, match="one folder for each class; received two of the name"):
        image_folder(paths["source"])


def test_folders_of_one_study_agree(tmp_path):
    paths = study(tmp_path, source=["ant", "bee"], target=["bee", "ant"])
    loaded, names = image_folders(paths, image_size=(4, 6))
    assert names == ("ant", "bee") and list(loaded) == ["source", "target"]
    for name, (images, labels) in loaded.items():
        np.testing.assert_array_equal(images, image_folder(paths[name], (4, 6))[0])
        assert labels.tolist() == [0, 1]


def test_folders_that_disagree_are_named(tmp_path):
    paths = study(tmp_path, source=["ant", "bee", "horse"], target=["ant", "hose", "horse"])
    message = (
        r"same classes in all folders; received folders of which 'source' lacks \('hose',\), 'target' lacks "
        r"\('bee',\).*class_names=\('ant', 'bee', 'horse', 'hose'\)"
    )
    with pytest.raises(ValueError, match=message):
        image_folders(paths)
    loaded, names = image_folders(paths, class_names=["ant", "bee", "horse", "hose"])
    assert loaded["source"][1].tolist() == [0, 1, 2] and loaded["target"][1].tolist() == [0, 2, 3]
    assert names == ("ant", "bee", "horse", "hose")
    with pytest.raises(ValueError, match="`paths` to be a dict of names to folders; received"):
        image_folders(paths["source"])


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
    with pytest.raises(ValueError, match="Expected photographs .jpg.* in .*ant; received none"):
        image_folder(tmp_path)
    write(tmp_path / "ant", "1.png")
    write(tmp_path / "ant", "2.png", size=(4, 4))
    with pytest.raises(ValueError, match=r"of one size.*\(6, 8\).*\(4, 4\) in .*2.png"):
        image_folder(tmp_path)
    with pytest.raises(ValueError, match="at least 1 pixel.*; received 0"):
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
    with pytest.raises(ValueError, match="Expected the classes .*giraffe.*received folders of others: .'cat',."):
        pacs("photo")
    (tmp_path / "pacs" / "photo" / "cat").rename(tmp_path / "pacs" / "photo" / "dog")
    with pytest.raises(ValueError, match="Expected the classes .*received none of .'elephant', .*'person'"):
        pacs("photo")


def test_pacs(data_folder):
    if not (data_folder / "pacs/art_painting").is_dir():
        pytest.skip("KERAS_TRANSFER_DATA lacks pacs/art_painting")
    images, labels = pacs("art_painting", image_size=16)
    assert images.shape == (2048, 16, 16, 3)
    assert np.bincount(labels).tolist() == [379, 255, 285, 184, 201, 295, 449]

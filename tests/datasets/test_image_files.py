import os

import numpy as np
import pytest
from PIL import Image

from keras_transfer.datasets import ImageFiles, image_files, image_folder, image_table
from keras_transfer.datasets.image_files import read_columns
from tests.pictures import numbered


def write(path, value=0, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def files(tmp_path):
    """Six pictures of 2 classes: 0, 2, 4 of the first, 1, 3, 5 of the second."""
    return image_files(numbered(tmp_path / "mine", 6), image_size=4)


def values(images):
    return images[..., 0, 0, 0].tolist()


def test_reads_what_is_asked_for(files):
    assert len(files) == 6 and files.shape == (6, 4, 4, 3) and files.dtype == "uint8"
    assert files.labels.tolist() == [0, 0, 0, 1, 1, 1] and files.labels.dtype == "int32"
    assert files.class_names == ("0", "1") and files.groups is None
    assert files[:].shape == (6, 4, 4, 3) and files[:].dtype == "uint8"
    assert values(files[:]) == [0, 2, 4, 1, 3, 5]
    assert values(files[2:4]) == [4, 1] and values(files[::-1]) == [5, 3, 1, 4, 2, 0]
    assert values(files[[5, 0, 5]]) == [5, 0, 5] and values(files[np.array([1])]) == [2]
    assert values(files[files.labels == 1]) == [1, 3, 5]
    assert files[3].shape == (4, 4, 3) and files[np.int64(-1)][0, 0, 0] == 5
    assert files[[]].shape == (0, 4, 4, 3) and files[6:].shape == (0, 4, 4, 3)
    with pytest.raises(IndexError):
        files[[6]]


def test_reads_as_image_folder_does(tmp_path):
    write(tmp_path / "ant" / "1.png", 9, size=(10, 6))
    write(tmp_path / "bee" / "2.png", 8, size=(5, 7))
    files = image_files(tmp_path, (6, 4))
    images, labels, names = image_folder(tmp_path, (6, 4))
    np.testing.assert_array_equal(files[:], images)
    assert files.labels.tolist() == labels.tolist() and files.class_names == names
    with pytest.raises(ValueError, match=r"of one size.*\(6, 10\).*1.png and \(7, 5\) in .*2.png"):
        image_files(tmp_path)[:]
    assert image_files(tmp_path).shape == (2, None, None, 3)


def test_subset_keeps_names_and_reads_nothing(files):
    some = files.subset([4, 0])
    for path in set(files.paths) - set(some.paths):
        os.remove(path)
    assert isinstance(some, ImageFiles) and values(some[:]) == [3, 0]
    assert some.labels.tolist() == [1, 0] and some.class_names == files.class_names
    assert values(files.subset(files.labels == 1).subset(slice(1, 2))[:]) == [3]
    with pytest.raises(ValueError, match="2.png to be a complete photograph"):
        files[:]


def test_unlabelled_is_no_class(tmp_path):
    numbered(tmp_path, 4)
    write(tmp_path / "unlabelled" / "7.png", 7)
    write(tmp_path / "unlabelled" / "deeper" / "8.png", 8)
    assert image_files(tmp_path, 4).class_names == ("0", "1") == image_folder(tmp_path, 4)[2]
    more = image_files(tmp_path / "unlabelled", 4, labelled=False)
    assert values(more[:]) == [7, 8] and more.labels is None and more.class_names == ()
    assert more.subset([1]).labels is None


def test_without_labels_names_of_folders_mean_nothing(tmp_path):
    numbered(tmp_path, 4)
    write(tmp_path / "9.png", 9)
    write(tmp_path / ".hidden" / "1.png")
    assert values(image_files(tmp_path, 4, labelled=False)[:]) == [9, 0, 2, 1, 3]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="Expected photographs .jpg.* in .*empty; received none"):
        image_files(tmp_path / "empty", labelled=False)
    with pytest.raises(ValueError, match="nowhere'?, which is no folder"):
        image_files(tmp_path / "nowhere", labelled=False)


def test_folders_below_a_class_are_groups(tmp_path):
    for path in ("ant/monday/1.png", "ant/monday/2.png", "ant/tuesday/1.png", "ant/3.png", "bee/monday/1.png"):
        write(tmp_path / path)
    with pytest.raises(ValueError, match="received some in .*monday, below it. Where such folders are groups, say"):
        image_files(tmp_path, 4)
    files = image_files(tmp_path, 4, group_by_folder=True)
    assert files.labels.tolist() == [0, 0, 0, 0, 1]
    first = files.groups == files.groups[1]
    assert first.tolist() == [False, True, True, False, False]  # the days of two classes are two groups
    assert len(set(files.groups)) == 4
    assert files.subset([1, 4]).groups.tolist() == files.groups[[1, 4]].tolist()


def test_arrays_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"`labels` of shape \(1,\), one for each picture; received \(2,\)"):
        ImageFiles(["a.png"], [0, 1])
    with pytest.raises(ValueError, match=r"`groups` of shape \(1,\), one for each picture; received \(2,\)"):
        ImageFiles(["a.png"], groups=["a", "b"])
    with pytest.raises(ValueError, match="`ground` to be an integer from 0 to 255; received 256"):
        ImageFiles(["a.png"], ground=256)


# Tables.


def table(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_of_pictures(tmp_path):
    numbered(tmp_path, 4)
    text = '\ufeffid,file,kind,day\n1,1/003.png,bee,mo\n2, 0/000.png ,ant,tu\n\n3,1/001.png,"bee",mo\n'
    files = image_table(table(tmp_path, text), 4, "file", "kind", "day")
    assert values(files[:]) == [3, 0, 1] and files.labels.tolist() == [1, 0, 1]
    assert files.class_names == ("ant", "bee") and files.groups.tolist() == ["mo", "tu", "mo"]
    assert image_table(table(tmp_path, text), 4, "file", None).labels is None
    named = image_table(table(tmp_path, text), 4, "file", "kind", class_names=["bee", "cow", "ant"])
    assert named.labels.tolist() == [0, 2, 0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert values(image_table(table(elsewhere, text), 4, "file", "kind", root=tmp_path)[:]) == [3, 0, 1]
    absolute = f"path,label\n{tmp_path / '0' / '002.png'},x\n"
    assert values(image_table(table(elsewhere, absolute), 4)[:]) == [2]


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,kind\na,b\n", "the columns 'path', 'label' in .*table.csv; received 'file', 'kind'"),
        ("path,label\n", "at least one row in .*; received 1 lines"),
        ("", "at least one row in .*; received 0 lines"),
        ("path,label,path\na,b,c\n", "each column once in .*; received several of the name path"),
        ("path,label\n0/000.png,ant\n0/002.png\n", "2 cells in each row of .*; received 1 in row 3"),
        (
            "path,label\n0/000.png,ant\n0/002.png,\n",
            "a value in each row of the column 'label'.*none in 1, such as line 3",
        ),
        ("path,label\n0/000.png,ant\nnowhere.png,ant\n", "received 1 of 2 that are not there: .*nowhere.png"),
        (
            "path,label\n0/000.png,ant\n1/../0/000.png,bee\n",
            "one row for each picture in .*; received several for .*000",
        ),
        ('path,label\n"0/000.png,ant\n', "to be a CSV file in UTF-8; received: unexpected end of data"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    numbered(tmp_path, 4)
    with pytest.raises(ValueError, match=message):
        image_table(table(tmp_path, text), 4)


def test_other_bad_tables(tmp_path):
    numbered(tmp_path, 2)
    with pytest.raises(ValueError, match="a CSV file; received '.*nowhere.csv', which is no file"):
        image_table(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes("path,label\n0/000.png,b\u00e9b\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.csv to be a CSV file in UTF-8"):
        image_table(tmp_path / "latin.csv")
    path = table(tmp_path, "path,label\n0/000.png,bee\n")
    with pytest.raises(ValueError, match="the classes .'ant',. in the column 'label' of .*; received others: .'bee',."):
        image_table(path, class_names=["ant"])


def test_columns(tmp_path):
    path = table(tmp_path, 'a,b\n1,x y\n,"z\nz"\n')
    assert read_columns(path) == {"a": ["1", ""], "b": ["x y", "z\nz"]}


def test_large_jpegs_are_reduced_while_they_are_decoded(tmp_path):
    """From the whole picture nearly the same comes out: two pixels differ by up to 25 of 255."""
    waves = np.sin(np.arange(600) / 40)[:, None] * np.cos(np.arange(800) / 50)
    whole = np.rint(127 + 100 * np.stack([waves, waves**2, -waves], axis=-1)).astype("uint8")
    (tmp_path / "a").mkdir()
    Image.fromarray(whole).save(tmp_path / "a" / "1.jpg", quality=95)
    read = image_files(tmp_path, (60, 60))[0].astype(int)
    with Image.open(tmp_path / "a" / "1.jpg") as image:
        centre = image.crop((100, 0, 700, 600)).resize((60, 60), Image.Resampling.BILINEAR)
    assert np.abs(read - np.asarray(centre)).max() <= 3

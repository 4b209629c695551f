import dataclasses
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_transfer.recipes import own_pictures
from keras_transfer.recipes.own_pictures import Options, load

RNG = np.random.default_rng(0)


def write(path):
    """Writes a picture that is like no other: 5 x 5 random colours, enlarged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = RNG.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(colours).resize((24, 24), Image.Resampling.NEAREST).save(path)
    return path


def folder(path, **classes):
    """Class folders with so many pictures each."""
    for name, number in classes.items():
        for place in range(number):
            write(path / name / f"{place}.png")
    return path


def options(images, **change):
    return Options(images=images, image_size=16, **change)


def names(files):
    return {f"{path.parent.name}/{path.name}" for path in files.paths}


def test_a_share_of_each_class_tests_always_the_same(tmp_path, capsys):
    mine = folder(tmp_path, ant=10, bee=25, cow=2)
    data = load(options(mine))
    assert "29 pictures train, 8 test; 3 classes (bee 25, ant 10, cow 2)" in capsys.readouterr().out
    assert data.class_names == ("ant", "bee", "cow") and data.unlabelled is None
    assert np.bincount(data.train.labels).tolist() == [8, 20, 1]
    assert np.bincount(data.test.labels).tolist() == [2, 5, 1]
    assert names(data.train).isdisjoint(names(data.test)) and len(names(data.train) | names(data.test)) == 37
    again = load(options(mine))
    assert again.train.paths == data.train.paths and again.test.paths == data.test.paths
    assert len(load(options(mine, test_share=0.5)).test) == 5 + 12 + 1
    assert data.train[:2].shape == (2, 16, 16, 3)


def test_the_folder_of_unlabelled_pictures(picture_folder, capsys):
    data = load(Options(images=picture_folder, image_size=32))
    assert len(data.train) == 40 and len(data.test) == 8 and data.class_names == tuple("ABCD")
    assert len(data.unlabelled) == 16 and data.unlabelled.labels is None
    assert "40 pictures train, 8 test, 16 unlabelled; 4 classes (A 12, B 12, C 12, D 12)" in capsys.readouterr().out
    assert own_pictures.backbone(Options(image_size=32), trainable=False)(data.test[:]).shape == (8, 128)


def test_groups_stay_whole(tmp_path):
    for name in ("ant", "bee"):
        for group in range(6):
            folder(tmp_path / name, **{f"day_{group}": 2 + group % 3})
    data = load(options(tmp_path, group_by_folder=True))
    days = [{path.parent for path in side.paths} for side in (data.train, data.test)]
    assert not days[0] & days[1] and len(days[0] | days[1]) == 12
    assert set(data.test.labels) == set(data.train.labels) == {0, 1}
    assert 0.1 < len(data.test) / 36 < 0.35


def csv(path, rows, head="path,label,camera"):
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_a_table_with_groups(tmp_path, capsys):
    folder(tmp_path, some=24)
    rows = [f"some/{i}.png,{'xy'[i % 2]},{i // 4}" for i in range(24)]
    data = load(options(csv(tmp_path / "t.csv", rows), group_column="camera"))
    assert not set(data.train.groups) & set(data.test.groups)
    assert len(data.train) + len(data.test) == 24 and data.class_names == ("x", "y")
    assert "6 groups kept whole; 2 classes (x 12, y 12)" in capsys.readouterr().out


def test_own_split(tmp_path):
    mine = folder(tmp_path / "mine", ant=4, bee=4)
    tests = tmp_path / "tests.txt"
    tests.write_text(f"ant/3.png\n\nbee/0.png\n{mine / 'bee' / '1.png'}\n")
    data = load(options(mine, test=tests))
    assert names(data.test) == {"ant/3.png", "bee/0.png", "bee/1.png"} and len(data.train) == 5
    for text, message in (
        (
            "ant/3.png\nant/9.png\n",
            r"labelled pictures, with paths from .*mine; received 1 of 2 that are none: ant/9.png",
        ),
        ("", "received no lines"),
        ("ant/3.png\n", "pictures of each class that train and that test; received none for the test: bee"),
        ("ant/3.png\n" + "".join(f"bee/{i}.png\n" for i in range(4)), "received none for training: bee"),
    ):
        tests.write_text(text)
        with pytest.raises(ValueError, match=message):
            load(options(mine, test=tests))
    with pytest.raises(ValueError, match="--test to be a text file of paths; received .*nowhere"):
        load(options(mine, test=tmp_path / "nowhere"))


def test_a_listed_test_that_tears_groups(tmp_path):
    for name in ("ant", "bee"):
        folder(tmp_path / "mine" / name, monday=2, tuesday=2)
    tests = tmp_path / "tests.txt"
    tests.write_text("ant/monday/0.png\nbee/monday/0.png\nbee/monday/1.png\n")
    with pytest.raises(ValueError, match="whole groups among .*; received 1 groups that train too: .*ant/monday"):
        load(options(tmp_path / "mine", test=tests, group_by_folder=True))


def test_near_duplicates_across_the_split_are_told(tmp_path, capsys):
    mine = folder(tmp_path / "mine", ant=6, bee=6)
    before = load(options(mine))
    assert "Warning" not in capsys.readouterr().out
    shutil.copy(before.train.paths[0], before.test.paths[1])
    more = mine / "unlabelled"
    more.mkdir()
    shutil.copy(before.test.paths[0], more / "x.png")
    load(options(mine))
    told = capsys.readouterr().out
    assert "Warning: 1 of 2 pictures look like one on the other side of the split" in told
    assert f"{before.train.paths[0]} trains, {before.test.paths[1]} tests" in told
    assert f"{more / 'x.png'} is unlabelled, {before.test.paths[0]} tests" in told


def test_many_near_duplicates_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(own_pictures, "BATCH", 2)
    mine = folder(tmp_path / "mine", ant=1, bee=10)
    for place in range(1, 20):
        shutil.copy(mine / "ant" / "0.png", mine / "ant" / f"{place}.png")
    data = load(options(mine))
    told = capsys.readouterr().out
    assert len(data.test) == 6 and "Warning: 4 of 6 pictures look like one" in told
    assert told.count(" trains, ") == 5 and f"and {16 * 4 - 5} pairs more" in told


def test_pictures_that_cannot_be_read(tmp_path, capsys):
    mine = folder(tmp_path, ant=6, bee=6)
    (mine / "ant" / "2.png").write_bytes(b"nothing")
    (mine / "bee" / "5.png").write_bytes((mine / "bee" / "4.png").read_bytes()[:60])
    with pytest.raises(
        ValueError, match=r"received 2 of 12 pictures that cannot be read:\n.*ant/2.png to.*\n.*bee/5.png to"
    ):
        load(options(mine))
    data = load(options(mine, skip_unreadable=True))
    assert len(data.train) + len(data.test) == 10 and data.train[:].any() and data.test[:].any()
    assert "Skipped 2 of 12 pictures that cannot be read" in capsys.readouterr().out
    for place in range(5):
        (mine / "ant" / f"{place}.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="at least 2 pictures of each class, .*; received fewer of ant"):
        load(options(mine, skip_unreadable=True))


@pytest.mark.parametrize(
    "classes, change, message",
    [
        ({"ant": 4}, {}, "at least two classes; received one, 'ant'"),
        (
            {"ant": 4, "bee": 1},
            {},
            "at least 2 pictures of each class, one to train and one to test; received fewer of bee",
        ),
        ({}, {}, "a folder of photographs for each class in .*; received none"),
        ({"ant": 3, "bee": 3}, {"test_share": 0.6}, "--test-share above 0 and at most .5; received 0.6"),
        ({"ant": 3, "bee": 3}, {"test_share": 0.0}, "--test-share above 0 and at most .5; received 0.0"),
        ({"ant": 3, "bee": 3}, {"group_column": "day"}, "--group-column with a CSV file; received it with the folder"),
        ({"ant": 3, "bee": 3}, {"group_by_folder": True}, None),
    ],
)
def test_bad_folders(tmp_path, classes, change, message):
    (tmp_path / "mine").mkdir()
    mine = folder(tmp_path / "mine", **classes)
    if message is None:  # pictures beside the folders of groups are groups of one
        assert len(load(options(mine, **change)).test) == 2
        return
    with pytest.raises(ValueError, match=message):
        load(options(mine, **change))


def test_classes_of_one_group(tmp_path):
    folder(tmp_path / "ant", monday=4, tuesday=2)
    folder(tmp_path / "bee", monday=4)
    with pytest.raises(ValueError, match="at least 2 groups of each class, .*; received one of bee"):
        load(options(tmp_path, group_by_folder=True))


ROWS = [f"some/{i}.png,{'xy'[i % 2]},{i // 2}" for i in range(6)]


@pytest.mark.parametrize(
    "rows, change, message",
    [
        (ROWS, {"label_column": "kind"}, "the columns 'kind' in .*; received 'path', 'label', 'camera'"),
        ([row.replace(",y", ",x") for row in ROWS], {}, "at least two classes; received one, 'x'"),
        (
            [f"some/{i}.png,{i},1" for i in range(6)],
            {},
            "column 'label' of .*; received an identifier: 6 values in 6 rows",
        ),
        (ROWS[:-1] + ["some/5.png,,2"], {}, "of the column 'label' of .*; received none in 1, such as line 7"),
        (
            [row[:-1] + "1" for row in ROWS],
            {"group_column": "camera"},
            r"received 1 different value\(s\) in 6 rows, which keeps all",
        ),
        (
            [f"some/{i}.png,{'xy'[i % 2]},{i}" for i in range(6)],
            {"group_column": "camera"},
            r"received 6 different value\(s\) in 6 rows, which keeps none of them together",
        ),
    ],
)
def test_bad_tables(tmp_path, rows, change, message):
    folder(tmp_path, some=6)
    with pytest.raises(ValueError, match=message):
        load(options(csv(tmp_path / "t.csv", rows), **change))


def test_what_is_no_folder_and_no_table(tmp_path):
    with pytest.raises(ValueError, match="Expected --images, a folder of class folders or a CSV file; received none"):
        load(Options())
    with pytest.raises(ValueError, match="nowhere, which does not exist"):
        load(options(tmp_path / "nowhere"))
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(ValueError, match="or a file .csv; received .*x.zip"):
        load(options(tmp_path / "x.zip"))


# Another domain.


def test_a_target_without_labels(tmp_path):
    source = options(folder(tmp_path / "source", ant=3, bee=3))
    target = folder(tmp_path / "target", who=2, knows=3)
    files = own_pictures.load_target(source, target)
    assert len(files) == 5 and files.labels is None and files.class_names == ()
    labelled = folder(tmp_path / "labelled", bee=2)
    test = own_pictures.load_target_test(source, labelled, ("ant", "bee"))
    assert test.labels.tolist() == [1, 1]
    with pytest.raises(ValueError, match="received folders of others: .'knows', 'who'."):
        own_pictures.load_target_test(source, target, ("ant", "bee"))


def test_a_target_that_is_the_source(tmp_path):
    source = options(folder(tmp_path / "source", ant=3, bee=3))
    os.symlink(tmp_path / "source", tmp_path / "link")
    for target, where in (
        (tmp_path / "source", "the source's folder"),
        (tmp_path / "link", "the source's folder"),
        (tmp_path / "source" / "ant", "in the source's folder"),
        (tmp_path, "around the source's folder"),
    ):
        with pytest.raises(ValueError, match=f"a target apart from the source .*; received .*, {where}"):
            own_pictures.load_target(source, target)
    table = csv(tmp_path / "t.csv", [f"source/ant/{i}.png,{'xy'[i % 2]},1" for i in range(3)])
    with pytest.raises(ValueError, match="around 3 pictures of the source"):
        own_pictures.load_target(dataclasses.replace(source, images=table), tmp_path / "source" / "ant")
    assert len(own_pictures.load_target(dataclasses.replace(source, images=table), tmp_path / "source" / "bee")) == 3


def test_every_option_is_explained(capsys):
    import tyro

    with pytest.raises(SystemExit):
        tyro.cli(Options, args=["--help"])
    told = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    for words in ("Share of the pictures that test", "one path in a line", "the largest centred square of each"):
        assert words in told

"""Letters with attributes, emoji, tables of attributes, the files of Xian et al., and names of ImageNet."""

import importlib
import io
import json
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

import keras_transfer as kt


def test_letters_have_what_unicode_says():
    found = kt.datasets.letter_descriptions("aAäǟб")
    has = {
        letter: {n for n, v in zip(found.attribute_names, row) if v}
        for letter, row in zip(found.letters, found.attributes)
    }
    assert has["a"] == {"script latin", "case lower", "base latin a"}
    assert has["A"] == {"script latin", "case upper", "base latin a"}
    assert has["ǟ"] == {"script latin", "case lower", "base latin a", "with diaeresis", "with macron"}
    assert has["б"] == {"script cyrillic", "case lower", "base cyrillic be"}
    assert found.diacritic.tolist() == [False, False, True, True, False]
    assert found.names[2] == "latin small letter a with diaeresis"


def test_letters_that_cannot_be_told_are_left_out():
    found = kt.datasets.letter_descriptions(kt.datasets.script_letters("latin"))
    rows = {row.tobytes() for row in found.attributes}
    assert len(rows) == len(found.letters) < len(kt.datasets.script_letters("latin"))
    with pytest.raises(ValueError, match="letters; received .'1'."):
        kt.datasets.letter_descriptions("a1")


def png(color):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGBA", (64, 64), color).save(file, "PNG")
    return file.getvalue()


def test_emoji_from_the_package(tmp_path, monkeypatch):
    rows = [
        {"name": "RED HEART", "category": "Symbols", "subcategory": "heart", "unified": "2764"},
        {"name": "FLAG", "category": "Flags", "subcategory": "flag", "unified": "1F1E6"},
        {"name": "FAMILY", "category": "People", "subcategory": "family", "unified": "1F468-200D-1F469"},
        {"name": None, "category": "Old", "subcategory": "old", "unified": "1F46A", "obsoleted_by": "1F46B"},
        {"name": "BLUE HEART", "category": "Symbols", "subcategory": "heart", "unified": "1F499"},
    ]
    rows = [{**row, "image": f"{i}.png", "has_img_twitter": True, "has_img_google": True} for i, row in enumerate(rows)]
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        files = {"package/emoji.json": json.dumps(rows).encode()}
        files |= {f"package/img/google/64/{i}.png": png((255, 0, 0, 255 * (i == 0))) for i in range(5)}
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.delenv("KERAS_TRANSFER_DATA", raising=False)
    module = importlib.import_module("keras_transfer.datasets.emoji")  # its name is that of the function too
    monkeypatch.setattr(module, "fetch", lambda *_: tmp_path / "package.tgz")
    found = kt.datasets.emoji("google", image_size=16)
    assert found.names == ("red heart", "blue heart") and found.images.shape == (2, 16, 16, 3)
    assert found.images[0, 8, 8].tolist() == [255, 0, 0] and found.images[1].min() == 255  # transparent is white
    with pytest.raises(ValueError, match="one of .*; received 'apple'"):
        kt.datasets.emoji("apple")


def test_emoji_of_both_makers(data):
    data("emoji")
    found = [kt.datasets.emoji(style, 24) for style in kt.datasets.EMOJI_STYLES]
    assert found[0].names == found[1].names and len(set(found[0].names)) > 1000
    assert found[0].images.shape == (len(found[0].names), 24, 24, 3)
    assert np.abs(found[0].images.astype(int) - found[1].images).mean() > 5  # two styles


def test_animals(data):
    data("awa_attributes")
    found = kt.datasets.awa_attributes()
    assert found.attributes.shape == (50, 85) and len(set(found.unseen)) == 10
    zebra = dict(zip(found.attribute_names, found.attributes[found.names.index("zebra")]))
    assert zebra["stripes"] == 1 and zebra["flys"] == 0


def write_xian(folder, unseen=(3,)):
    """Files of that form: 8 rows of 4 features, 4 classes with 3 attributes."""
    labels = np.array([1, 1, 2, 2, 3, 3, 4, 4])
    savemat(folder / "res101.mat", {"features": np.arange(32.0).reshape(4, 8), "labels": labels[:, None]})
    there = np.isin(labels - 1, unseen)
    seen = np.flatnonzero(~there) + 1
    names = np.array([[np.array([f"00{c}.bird"])] for c in range(4)], object)
    savemat(
        folder / "att_splits.mat",
        {
            "att": np.eye(4)[:3],
            "allclasses_names": names,
            "trainval_loc": seen[::2][:, None],
            "test_seen_loc": seen[1::2][:, None],
            "test_unseen_loc": (np.flatnonzero(there) + 1)[:, None],
        },
    )


def test_files_of_xian(tmp_path):
    write_xian(tmp_path)
    found = kt.datasets.xian_split(tmp_path)
    np.testing.assert_array_equal(found.features[1], [1, 9, 17, 25])
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and found.train.tolist() == [0, 2, 4]
    assert found.test_seen.tolist() == [1, 3, 5] and found.test_unseen.tolist() == [6, 7]
    assert list(found.descriptions) == [f"00{c}.bird" for c in range(4)]
    np.testing.assert_array_equal(found.descriptions["001.bird"], [0, 1, 0])
    assert {len(checksum) for checksum in found.sha256.values()} == {64}


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="received no .*res101.mat"):
        kt.datasets.xian_split(tmp_path)
    write_xian(tmp_path)
    (tmp_path / "res101.mat").write_bytes(b"no such file" * 20)
    with pytest.raises(ValueError, match="Expected the files of Xian et al."):
        kt.datasets.xian_split(tmp_path)


def test_prompts_say_each_name_in_every_sentence():
    found = kt.datasets.prompts(["red heart", "zebra"])
    assert list(found) == ["red heart", "zebra"] and all("zebra" in said for said in found["zebra"])
    assert len(found["zebra"]) == len(set(found["zebra"])) == len(kt.datasets.PICTURE_PROMPTS)
    for arguments in ((["a", "a"],), (["a"], ["a picture"]), ([" "],), (["a"], [])):
        with pytest.raises(ValueError, match="names of classes, each once|templates with one"):
            kt.datasets.prompts(*arguments)


def test_names_that_imagenet_has():
    pytest.importorskip("keras_hub", reason="lists the classes")
    found = kt.datasets.imagenet_overlap(["zebra", "unicorn", "killer+whale", "tiger face"])
    assert set(found) == {"zebra", "killer+whale", "tiger face"} and found["zebra"] == ["zebra"]

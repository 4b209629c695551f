import io
import zipfile

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.datasets.omniglot import _CHARACTERS, _read_zip

# The five alphabets of validation, by the numbers of their characters in the release.
ALPHABETS = {"Armenian": (27, 67), "Bengali": (132, 177), "Early_Aramaic": (251, 272), "Hebrew": (466, 487)}
ALPHABETS["Mkhedruli"] = (729, 769)


def test_splits():
    """Vinyals et al.: 1,028, 172 and 423 characters, none in two of them; test is what follows number 1200."""
    train, validation, test = (set(_CHARACTERS[split]) for split in ("train", "validation", "test"))
    assert [len(s) for s in (train, validation, test)] == [1028, 172, 423]
    assert train | validation | test == set(range(1, 1624)) and min(test) == 1201
    assert validation == {c for first, last in ALPHABETS.values() for c in range(first, last + 1)}
    assert not set(_CHARACTERS["background"]) & set(_CHARACTERS["evaluation"])


def write_zip(path, first, count, drawers=20, broken=False):
    """An archive in the layout of the release; the ink of a drawing is a bar that says which it is."""
    from PIL import Image

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/images/._0001_01.png", b"")
        for number in range(count):
            for drawer in range(drawers):
                paper = np.ones((105, 105), bool)
                paper[: 5 * (drawer + 1), : 10 * (number + 1)] = False
                file = io.BytesIO()
                Image.fromarray(paper).save(file, "png")
                content = b"no picture" if broken else file.getvalue()
                name = f"{first + number:04d}_{drawer + 1:02d}.png"
                archive.writestr(f"images/Alphabet/character{number + 1:02d}/{name}", content)


def test_zip_in_the_layout_of_the_release(tmp_path):
    write_zip(tmp_path / "small.zip", 965, 3)
    ink, found = _read_zip(tmp_path / "small.zip", 965, 3)
    assert ink.shape == (3, 20, 105, 105) and found.all()
    for number in range(3):
        for drawer in range(20):
            assert ink[number, drawer].sum() == 5 * (drawer + 1) * 10 * (number + 1)
            assert ink[number, drawer, 0, 0] and not ink[number, drawer, -1, -1]


def test_bad_archives(tmp_path, monkeypatch):
    (tmp_path / "omniglot").mkdir()
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    write_zip(tmp_path / "omniglot/images_evaluation.zip", 965, 2)
    with pytest.raises(ValueError, match="Expected 13180 images in .*images_evaluation.zip; received 40"):
        kt.datasets.omniglot("test")
    write_zip(tmp_path / "broken.zip", 1, 1, broken=True)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "broken.zip").read_bytes()[:1000])
    for name in ("broken", "cut"):
        with pytest.raises(ValueError, match=f"{name}.zip to be a complete archive of Omniglot"):
            _read_zip(tmp_path / f"{name}.zip", 1, 1)


def test_bad_arrays(tmp_path, monkeypatch):
    (tmp_path / "omniglot").mkdir()
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    np.savez(tmp_path / "omniglot/images_evaluation.npz", images=np.zeros((2, 20, 105, 105), bool))
    with pytest.raises(ValueError, match=r"images .659, 20, 105, 105. in .*received .2, 20, 105, 105."):
        kt.datasets.omniglot("test")
    with pytest.raises(ValueError, match="`split` to be one of .*received 'val'"):
        kt.datasets.omniglot("val")


def test_real_characters(data_folder):
    if not (data_folder / "omniglot").is_dir():
        pytest.skip("needs omniglot/ in KERAS_TRANSFER_DATA")
    images, labels = kt.datasets.omniglot("validation")
    assert images.shape == (172 * 20, 28, 28, 1) and images.dtype == "uint8" and labels.dtype == "int32"
    np.testing.assert_array_equal(labels, np.repeat(np.arange(172), 20))
    assert images.max() == 255 and 10 < images.mean() < 40  # little ink
    per_class = images.reshape(172, 20, -1).astype(float)
    within, whole = per_class.var(1).mean(), per_class.reshape(172 * 20, -1).var(0).mean()
    assert within < 0.9 * whole  # drawings of one character resemble each other


def test_zip_and_arrays_of_the_release_agree(data_folder):
    """The canonical layout, of a part of the background set, against the arrays."""
    folder = data_folder / "omniglot"
    if not (folder / "images_background_small1.zip").exists():
        pytest.skip("needs omniglot/images_background_small1.zip in KERAS_TRANSFER_DATA")
    ink, found = _read_zip(folder / "images_background_small1.zip", 1, 964)
    with np.load(folder / "images_background.npz") as file:
        np.testing.assert_array_equal(ink[found], ~file["images"][found])
    assert found.all(1).sum() == found.any(1).sum() == 136


def write_runs(path, runs=20, classes=20):
    """An archive in the layout of the release; query k of a run is drawn as the example that it belongs to."""
    from PIL import Image

    def drawing(size):
        paper = np.ones((105, 105), bool)
        paper[: 5 * (size + 1), :10] = False
        file = io.BytesIO()
        Image.fromarray(paper).save(file, "png")
        return file.getvalue()

    with zipfile.ZipFile(path, "w") as archive:
        for run in range(1, runs + 1):
            lines = []
            for k in reversed(range(classes)):
                query, example = f"run{run:02d}/test/item{k + 1:02d}.png", f"run{run:02d}/training/class{k + 1:02d}.png"
                answer = (k + run) % classes
                lines.append(f"{query} run{run:02d}/training/class{answer + 1:02d}.png")
                archive.writestr(f"all_runs/{query}", drawing(answer))
                archive.writestr(f"all_runs/{example}", drawing(k))
            archive.writestr(f"all_runs/run{run:02d}/class_labels.txt", "\n".join(lines) + "\n")


def test_one_shot_runs_of_lake(tmp_path, monkeypatch):
    (tmp_path / "omniglot").mkdir()
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    write_runs(tmp_path / "omniglot/all_runs.zip")
    x, y = kt.datasets.omniglot_runs(image_size=None)
    support, labels = x["support"]
    assert support.shape == x["query"].shape == (20, 20, 105, 105, 1) and support.dtype == "uint8"
    assert labels.dtype == y.dtype == "int32"
    sizes = support.astype(int).sum((2, 3, 4)) // (255 * 50)
    np.testing.assert_array_equal(sizes, np.tile(np.arange(1, 21), (20, 1)))
    for run in range(20):  # each query is the image of the class that is its answer
        np.testing.assert_array_equal(x["query"][run], support[run][y[run]])
        assert sorted(y[run]) == list(range(20))
    assert kt.datasets.omniglot_runs()[0]["query"].shape == (20, 20, 28, 28, 1)


def test_bad_runs(tmp_path, monkeypatch):
    (tmp_path / "omniglot").mkdir()
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    write_runs(tmp_path / "omniglot/all_runs.zip", runs=3)
    with pytest.raises(ValueError, match="all_runs.zip to hold the 20 runs of Omniglot; received: .*run04"):
        kt.datasets.omniglot_runs()
    write_runs(tmp_path / "omniglot/all_runs.zip", classes=7)
    with pytest.raises(ValueError, match="received: 7 queries of 7 classes in run 1"):
        kt.datasets.omniglot_runs()

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.recipes import own_pictures, recognise_unseen, unseen_classes


def config(folder, **change):
    folders = {name: folder / name for name in ("runs", "saved_models", "results")}
    quick = {"seeds": (0, 1), "letters": 600, "tests": 100, "epochs": 1, "head_epochs": 1, "image_size": 32}
    return recognise_unseen.Config(**{**folders, **quick, **change})


@pytest.fixture
def few_letters(monkeypatch):
    monkeypatch.setattr(kt.datasets, "SCRIPTS", ("greek",))
    monkeypatch.setattr(unseen_classes, "UNSEEN_LETTERS", 8)
    monkeypatch.setattr(unseen_classes, "HELD_LETTERS", 6)


def test_letters(tmp_path, monkeypatch, few_letters):
    words = np.random.default_rng(0).normal(size=(2000, 12)).astype("float32")  # those of MiniLM take long
    monkeypatch.setattr(unseen_classes, "words_of", lambda texts: words[: len(texts)])
    record = recognise_unseen.main(config(tmp_path, generalised=True))
    assert set(record["runs"]) == set(recognise_unseen.ARMS) and record["baseline"] == "eszsl"
    for found in record["means"].values():
        assert all(0 <= value <= 1 for value in found.values())
        assert found["oracle_harmonic_accuracy"] >= found["penalty_harmonic_accuracy"] - 1e-9
    assert max(record["extra"]["export"]["differences"].values()) < 1e-4
    (run,) = (tmp_path / "runs").iterdir()
    assert {"unseen.png", "seen_unseen.png", "report.png"} <= {path.name for path in run.iterdir()}
    assert (tmp_path / "results/recognise_unseen/glyphs_styles_generalised.json").is_file()


def test_unseen_letters_and_fonts_are_in_no_training(few_letters, monkeypatch):
    settings = recognise_unseen.Config(letters=300, tests=50)
    monkeypatch.setattr(unseen_classes, "words_of", lambda texts: None)
    problem = unseen_classes.Letters(settings, "family").problem(settings, 0)
    assert problem.seen[problem.train[1]].all() and (~problem.seen).sum() == 8
    assert set(np.unique(problem.seen[problem.test[1]])) == {False, True}
    held = unseen_classes.held_out(problem, 0)
    assert set(held.names) == set(problem.seen_names)
    assert held.seen[held.train[1]].all() and not held.seen[held.test[1]].all()
    assert len(held.train[0]) + len(held.test[0]) == len(problem.train[0])
    names = np.array(problem.names)[problem.train[1]]
    together = [np.array(held.names)[part[1]] for part in (held.train, held.test)]
    assert sorted(np.concatenate(together)) == sorted(names)


@pytest.mark.parametrize("split", unseen_classes.SPLITS["emoji"])
def test_emoji(data_folder, monkeypatch, split):
    """Which rows train and test, of features that are the numbers of view, maker and class."""
    makers = kt.datasets.EMOJI_STYLES
    drawn = {style: kt.datasets.emoji(style, 16) for style in makers}
    classes = len(drawn["twitter"].names)

    def features_of(backbone, images, view):
        maker = [np.array_equal(images, drawn[style].images) for style in makers].index(True)
        return np.stack([np.full(classes, view), np.full(classes, maker), np.arange(classes)], axis=1)

    monkeypatch.setattr(unseen_classes, "words_of", lambda texts: np.zeros((len(texts), 3)))
    monkeypatch.setattr(unseen_classes, "features_of", features_of)
    monkeypatch.setattr(own_pictures, "imagenet_backbone", lambda *_: None)
    settings = recognise_unseen.Config(data="emoji", split=split, image_size=16)
    data = unseen_classes.load(settings)
    problem = data.problem(settings, 0)
    (x, y), (x_test, y_test) = problem.train, problem.test
    np.testing.assert_array_equal(x[:, 2], y)
    np.testing.assert_array_equal(x_test[:, 2], y_test)
    assert set(y) == set(np.flatnonzero(problem.seen)) and set(y_test) == set(np.flatnonzero(~problem.seen))
    assert set(x[:, 0]) == set(range(unseen_classes.VIEWS)) and set(x_test[:, 0]) == {0}
    assert (set(x[:, 1]), set(x_test[:, 1])) == (({0}, {1}) if split == "style" else ({0, 1}, {0, 1}))
    kinds = np.array([f"{c}: {s}" for c, s in zip(drawn["twitter"].categories, drawn["twitter"].subcategories)])
    assert (split == "subcategories") == (not set(kinds[problem.seen]) & set(kinds[~problem.seen]))
    rows = np.array([0, len(y_test) - 1])
    shown = data.pictures(problem, rows)
    expected = [drawn[makers[int(x_test[row, 1])]].images[y_test[row]] for row in rows]
    np.testing.assert_array_equal(shown, expected)


@pytest.fixture
def catalogue(tmp_path):
    """Pictures of twelve classes, coloured by three attributes, a description of each, and of a class without any."""
    rng, rows = np.random.default_rng(0), []
    for number in range(13):
        attributes = [1 + number % 3, 1 + number // 3 % 3, 1 + number // 9]
        rows.append([f"item {number}", *attributes])
        if number < 12:
            (tmp_path / "shop" / f"item {number}").mkdir(parents=True)
            for i in range(4):
                image = rng.integers(0, 60, (32, 32, 3)) + 60 * np.array(attributes)
                keras.utils.save_img(tmp_path / "shop" / f"item {number}" / f"{i}.png", image, scale=False)
    with open(tmp_path / "classes.csv", "w", newline="") as file:
        csv.writer(file).writerows([["class", "red", "green", "blue"], *rows])
    backbone = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255)])
    backbone.add(keras.layers.GlobalAveragePooling2D())
    backbone.save(tmp_path / "backbone.keras")
    return tmp_path


def test_your_own_pictures(catalogue, tmp_path):
    own = {"images": catalogue / "shop", "descriptions": catalogue / "classes.csv"}
    own["backbone"] = f"file:{catalogue / 'backbone.keras'}"
    settings = config(tmp_path / "out", **own, arms=("eszsl", "bilinear"), head_epochs=30, decay=0.0)
    record = recognise_unseen.main(settings)
    assert record["means"]["eszsl"]["unseen_accuracy"] > 0.5  # of 2 classes that are told by their colours
    version = tmp_path / "out/saved_models/recognise_unseen/1"
    card = json.loads((version / kt.serving.CARD).read_text())
    assert len(card["own_classes"]["serving_default"]) == 13  # that without pictures too
    kt.serving.add_classes(version.parent, {"white": [3.0, 3.0, 3.0]})
    loaded = tf.saved_model.load(str(version.parent / "2")).signatures["serving_default"]
    assert loaded(images=tf.zeros((2, 32, 32, 3), "uint8"))["logits"].shape == (2, 14)


@pytest.mark.parametrize(
    "text, message",
    [
        ("name,red\na,1\n", "a column `class` and columns of what describes it"),
        ("class,red\na,1\n", "received nothing on b"),
        ("class,red\na,1\nb,2\nb,3\n", "received a class twice"),
        ("class,red\na,1\nb,much\n", "Expected numbers, or columns `description`"),
    ],
)
def test_descriptions_that_are_none(tmp_path, text, message):
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        unseen_classes.read_descriptions(tmp_path / "classes.csv", ("a", "b"))


def test_descriptions_in_words(tmp_path):
    (tmp_path / "classes.csv").write_text("class,description,description_2\nb,a cat,a small cat\na,a dog,\nc,a cow,\n")
    names, attributes, texts = unseen_classes.read_descriptions(tmp_path / "classes.csv", ("a", "b"))
    assert names == ("a", "b", "c") and attributes is None and texts == [["a dog"], ["a cat", "a small cat"], ["a cow"]]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"split": "random"}, "--split to be one of .* of glyphs; received 'random'"),
        ({"data": "emoji", "generalised": True}, "letters or pictures of your own with --generalised"),
        ({"arms": ("sae",)}, "the arms `eszsl` and `bilinear`"),
        ({"seeds": (0,)}, "at least 2 seeds"),
    ],
)
def test_settings_that_are_none(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        recognise_unseen.main(config(tmp_path, **change))

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import episodes, learn_photos
from tests.recipes.runs import check_run, folders, served

PICTURES = ("episode", "embedding", "accuracy", "curves")


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A short run on letters."""
    folder = tmp_path_factory.mktemp("letters")
    config = learn_photos.Config(seeds=(0,), steps=2, ways=20, queries=2, test_episodes=20, **folders(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn_photos, "SIZES", ((5, 1), (20, 5)))
        return folder, learn_photos.main(config)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of nine classes, `<letter>/<number>.png`: each has 8 pictures, but for the last, which has 3."""
    folder, names = tmp_path_factory.mktemp("many") / "letters", "ABCDEFGHI"
    images, labels, _, _ = kt.datasets.glyphs(names, n=200, image_size=16, seed=0)
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images[labels == label][: 3 if name == "I" else 8]):
            keras.utils.save_img(folder / name / f"{number}.png", np.repeat(image, 3, -1), scale=False)
    return folder


@pytest.fixture(scope="module")
def own(many, tmp_path_factory):
    """A short run on own pictures with a backbone from a file."""
    folder = tmp_path_factory.mktemp("own")
    keras.utils.set_random_seed(0)
    small = [layers.Rescaling(1 / 255), layers.AveragePooling2D(4), layers.Flatten(), layers.Dense(8)]
    keras.Sequential([keras.Input((16, 16, 3)), *small]).save(folder / "small.keras")
    return folder, learn_photos.main(
        learn_photos.Config(
            images=many,
            image_size=16,
            backbone=f"file:{folder / 'small.keras'}",
            seeds=(0, 1),
            steps=2,
            test_episodes=20,
            **folders(folder / "run"),
        )
    )


def sizes_of(tested):
    protocols = [report["protocol"] for report in tested["reports"]]
    return [(protocol["ways"], protocol["shots"], protocol["queries"]) for protocol in protocols]


def test_record_and_pictures(letters):
    folder, record = letters
    check_run(folder, "learn_photos", "letters", record, PICTURES)
    assert set(record["tests"]) == {"prototypical", *learn_photos.BASELINES} and "reports" not in record
    for (tested,) in record["tests"].values():
        assert tested["seed"] == 0 and sizes_of(tested) == [(5, 1, 15), (20, 5, 15)]
        for report in tested["reports"]:
            assert report["episodes"] == 20 and report["transductive"] is False and 0 <= report["accuracy"] <= 1


def test_export_answers_any_way_and_shot(letters):
    version = check_run(letters[0], "learn_photos", "letters", letters[1], PICTURES)
    assert letters[1]["export"]["differences"]["classify_episode"] <= 1e-5
    _, _, (images, _) = episodes.load()
    labels = np.int32([0, 1, 2, 3, 0, 1])
    answers = served(version, "classify_episode")(support=images[:6], labels=labels, query=images[6:9])
    assert answers["probabilities"].shape == (3, 4)
    assert 0 < letters[1]["unknown_distance"] < 1e9


def test_own_pictures(own, many):
    """Of nine classes one has too few pictures; of the others three test, each with at most 3 queries."""
    folder, record = own
    version = check_run(folder / "run", "learn_photos", "letters", record, PICTURES)
    for tests in record["tests"].values():
        assert [tested["seed"] for tested in tests] == [0, 1]
        assert [sizes_of(tested) for tested in tests] == [[(3, 1, 3), (3, 5, 3)]] * 2
    assert set(record["reports"]) == {"3-way 1-shot", "3-way 5-shot"}
    scores = record["chosen_by"]
    assert record["exported"] == max(scores, key=scores.get) and set(scores) == {"prototypical", "simple_shot"}
    images = kt.datasets.image_files(many, 16)[:6]
    answers = served(version, "classify_episode")(support=images[:4], labels=np.int32([0, 0, 1, 1]), query=images[4:])
    assert answers["probabilities"].shape == (2, 2)


def test_classes_are_apart(many):
    data = learn_photos.load(learn_photos.Config(images=many, image_size=16))
    assert data.images.shape == (64, 16, 16, 3) and data.sizes == ((3, 1), (3, 5)) and data.queries == 3
    drawn = []
    for seed in (0, 1):
        parts = [set(data.labels[places]) for places in data.split(seed)]
        assert [len(part) for part in parts] == [3, 2, 3] and len(set.union(*parts)) == 8
        drawn.append(parts[2])
    assert drawn[0] != drawn[1]  # seeds test other classes
    assert learn_photos.new_encoder(data).output_shape == (None, 128)


def test_a_layer_begins_as_simple_shot():
    features = np.random.default_rng(0).normal(2.0, 1.0, (30, 6)).astype("float32")
    begun, simple = learn_photos.new_layer(features), kt.models.simple_shot(episodes.identity(6), features)
    np.testing.assert_allclose(begun(features), 4 * simple(features), rtol=1e-5)


def test_bad_input(many, picture_folder):
    with pytest.raises(ValueError, match="at least 6 classes of at least 2 pictures: .* received 4 of 4"):
        learn_photos.load(learn_photos.Config(images=picture_folder))
    with pytest.raises(ValueError, match="`steps` in hundreds; received 150"):
        learn_photos.main(learn_photos.Config(steps=150))
    with pytest.raises(ValueError, match="`test_episodes` in tens, at least 20; received 15"):
        learn_photos.main(learn_photos.Config(test_episodes=15))


def test_classes_of_two_pictures_are_tested_with_one_example():
    rows = {"paths": range(14), "labels": np.repeat(np.arange(7), 2), "class_names": tuple("ABCDEFG")}
    files, sizes, queries = learn_photos.fitting(kt.datasets.ImageFiles(map(str, rows.pop("paths")), **rows))
    assert len(files) == 14 and sizes == ((2, 1),) and queries == 1


def test_settings_of_pictures_are_those_of_own_pictures():
    """The options have the defaults that every recipe has."""
    ours = {field.name: field.default for field in dataclasses.fields(learn_photos.Config)}
    shared = {f.name: f.default for f in dataclasses.fields(learn_photos.own_pictures.Options) if f.name in ours}
    assert len(shared) >= 6 and shared == {name: ours[name] for name in shared}

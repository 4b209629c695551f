import functools

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters
from tests.recipes.runs import check_run, folders, served

load = functools.cache(finetune_letters.load)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run."""
    folder = tmp_path_factory.mktemp("run")
    config = finetune_letters.Config(
        labels_per_class=1,  # fewer images than the picture has room for
        views=2,
        pretraining_images=1000,
        splits=(0, 1),
        steps=6,
        **folders(folder),
    )
    return folder, config, finetune_letters.main(config)


def test_record_pictures_and_export(run):
    folder, config, report = run
    assert set(report["runs"]) == {*finetune_letters.BASELINES, "lp_ft"}
    assert set(report["runs"]["lp_ft"]) == {"0", "1"}
    pictures = ("samples", "curves", "predictions", "report")
    version = check_run(folder, "finetune_letters", "georgian_1", report, pictures)
    images, labels, letters = load()
    _, rest = finetune_letters.draw_split(1, labels, 0)
    outputs = served(version)(images=images[rest])
    assert {name.decode() for name in outputs["class_name"]} <= set(letters)
    accuracy = (outputs["class_id"] == labels[rest]).mean()
    assert accuracy == pytest.approx(report["runs"]["lp_ft"]["0"]["accuracy"], abs=2 / len(rest))  # rounding
    assert report["extra"]["export"]["differences"]["serving_default"] <= 1e-5


def test_splits_are_balanced_and_disjoint():
    labels = np.repeat(np.arange(5), 30)
    few, rest = finetune_letters.draw_split(3, labels, split=4)
    assert np.bincount(labels[few]).tolist() == [3] * 5
    assert sorted([*few, *rest]) == list(range(150))
    again, _ = finetune_letters.draw_split(3, labels, split=5)
    assert set(few) != set(again)


def test_views_begin_with_the_images():
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1)).astype("uint8")
    config = finetune_letters.Config(views=3)
    views = finetune_letters.augment(config, images, split=0)
    assert views.shape == (18, 28, 28, 1) and views.dtype == "uint8"
    np.testing.assert_array_equal(views[:6], images)
    assert not np.array_equal(views[6:12], images) and not np.array_equal(views[6:12], views[12:])
    np.testing.assert_array_equal(finetune_letters.augment(config, images, split=0), views)


def test_passes_are_whole():
    config = finetune_letters.Config(batch_size=32)
    assert [finetune_letters.passes(config, steps, 100) for steps in (1, 4, 6, 7, 400)] == [1, 1, 2, 2, 100]


def test_every_encoder_begins_where_the_pretrained_one_ended():
    pretrained = kt.backbones.small_cnn((28, 28, 1), dim=128)
    for a, b in zip(pretrained.get_weights(), finetune_letters.build(pretrained).get_weights()):
        np.testing.assert_array_equal(a, b)


def test_one_split_is_refused():
    with pytest.raises(ValueError, match="at least 2 splits"):
        finetune_letters.main(finetune_letters.Config(splits=(3,)))

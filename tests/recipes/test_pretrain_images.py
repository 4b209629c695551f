import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.recipes import own_pictures, pretrain_images
from tests.recipes.runs import check_run, folders, served


@pytest.fixture
def eager():
    """Functions run as they are written: for a few steps, tracing is most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def settings(images, **changes):
    return pretrain_images.Config(
        data=own_pictures.Options(images=images, image_size=16), epochs=1, batch_size=32, steps=2, **changes
    )


@pytest.mark.usefixtures("one_rate")
def test_a_short_run(picture_folder, tmp_path):
    config = settings(picture_folder, seeds=(0, 1), labels_per_class=4, **folders(tmp_path))
    record = pretrain_images.main(config)
    pictures = ("views", "neighbours", "embedding", "curves", "report")
    version = check_run(tmp_path, "pretrain_images", "letters", record, pictures)
    pretrained = {"probe", "views_probe", "lp_ft"}
    assert set(record["few_labels"]) == {*pretrained, *pretrain_images.BASELINES}
    assert set(record["report"]["gains"]) == pretrained
    for arm, runs in record["few_labels"].items():
        assert set(runs) == {0, 1}
        for seed, run in runs.items():
            assert (run["validation"] is None) == (arm in ("lp_ft", "twin"))  # one training: none held out
            assert record["report"]["runs"][arm][str(seed)]["accuracy"] == run["test"]
    assert {"embedding_std", "alignment", "loss"} <= set(record["histories"][0])
    test = pretrain_images.load(config).test
    assert served(version)(images=test)["features"].shape == (len(test), 128)
    assert record["export"]["differences"]["serving_default"] <= 1e-5


def test_unlabelled_pictures_are_learned_from_and_those_that_test_are_not(picture_folder, monkeypatch):
    for memory in (pretrain_images.MEMORY, 0):  # in memory, and left on disk
        monkeypatch.setattr(pretrain_images, "MEMORY", memory)
        data = pretrain_images.load(settings(picture_folder))
        assert isinstance(data.unlabelled, np.ndarray if memory else kt.datasets.ImageFiles)
        rows = [{image.tobytes() for image in images[:]} for images in (data.unlabelled, data.train, data.test)]
        assert [len(one) for one in rows] == [40 + 16, 40, 8]  # 12 in each of 4 classes, of which 2 test
        assert rows[1] < rows[0] and not rows[0] & rows[2]
        assert np.bincount(data.labels).tolist() == [10] * 4 and data.names == tuple("ABCD")


@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`:UserWarning")
def test_pictures_without_classes_are_learned_from_on_disk(picture_folder, tmp_path, monkeypatch):
    """A folder that has `unlabelled/` alone: an encoder is exported, and nothing tested."""
    monkeypatch.setattr(pretrain_images, "MEMORY", 0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "unlabelled").symlink_to(picture_folder / "unlabelled")
    config = settings(tmp_path / "mine", seeds=(0,), method="vicreg")
    data = pretrain_images.load(config)
    assert len(data.unlabelled) == 16 and data.train is None
    model, _, history = pretrain_images.pretrain(config, 0, data.unlabelled)  # 16 pictures, less than a batch
    assert np.isfinite(history["loss"]).all()
    assert set(pretrain_images.draw_pictures(config, model, data)) == {"views", "neighbours"}


def test_a_backbone_that_does_not_train_is_refused(picture_folder, tmp_path):
    keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()]).save(tmp_path / "fixed.keras")
    options = own_pictures.Options(images=picture_folder, image_size=16, backbone=f"file:{tmp_path / 'fixed.keras'}")
    with pytest.raises(ValueError, match="--backbone that can be trained; received .*fixed.keras, which cannot"):
        pretrain_images.new_encoder(pretrain_images.Config(data=options), (16, 16, 3))

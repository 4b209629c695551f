import json
import typing

import keras
import numpy as np
import pytest

import keras_transfer as kt
from recipes import finetune_photos
from tests.recipes.folders import folders

ARMS = typing.get_args(finetune_photos.Strategy)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of every strategy on letters."""
    folder = tmp_path_factory.mktemp("run")
    config = finetune_photos.Config(
        strategy=ARMS,
        labels_per_class=1,  # fewer images than the picture has room for
        views=4,
        pretraining_images=1000,
        splits=(0, 1),
        steps=22,
        **folders(folder),
    )
    return folder, finetune_photos.main(config)


def test_report_names_every_arm_and_its_costs(run):
    folder, report = run
    assert set(report["runs"]) == {"head", "head_augmented", *ARMS}
    written = json.loads((folder / "results/finetune_photos/glyphs_small_cnn_1.json").read_text())
    assert written["means"] == report["means"]
    means = report["means"]
    for arm, row in means.items():
        assert 1 / 44 < row["accuracy"] < 1 or arm in ("full", "head_augmented")
        assert row["seconds"] > 0 and row["file_megabytes"] > 0
    head = 128 * 44 + 44
    assert means["head"]["trained_parameters"] == head
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=128)
    everything = sum(int(np.prod(w.shape)) for w in encoder.trainable_weights)
    norms = sum(int(np.prod(w.shape)) for w in encoder.trainable_weights if w.name in ("gamma", "beta"))
    for arm in ("lp_ft", "full", "layerwise", "gradual", "l2sp"):
        assert means[arm]["trained_parameters"] == everything + head
    assert means["norms"]["trained_parameters"] == norms + head
    assert means["biases"]["trained_parameters"] == norms / 2 + head
    assert means["lora"]["file_megabytes"] < means["full"]["file_megabytes"] / 3


def test_draws_its_pictures(run):
    from matplotlib.image import imread

    (drawn,) = (run[0] / "runs").iterdir()
    for name in ("samples", "curves", "predictions", "report"):
        assert imread(drawn / f"{name}.png").shape[0] > 200


def test_export_serves_raw_images(run):
    import tensorflow as tf

    (version,) = (run[0] / "saved_models/finetune_photos").iterdir()
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    config = finetune_photos.Config()
    images, _, letters = finetune_photos.load(config)
    outputs = serve(images=tf.constant(images[:3]))
    assert {name.decode() for name in outputs["class_name"].numpy()} <= set(letters)
    assert run[1]["extra"]["export"]["differences"]["serving_default"] <= 1e-5


def test_splits_are_balanced_and_disjoint():
    labels = np.repeat(np.arange(5), 30)
    config = finetune_photos.Config(labels_per_class=3)
    few, rest = finetune_photos.draw_split(config, labels, split=4)
    assert np.bincount(labels[few]).tolist() == [3] * 5
    assert sorted([*few, *rest]) == list(range(150))
    again, _ = finetune_photos.draw_split(config, labels, split=5)
    assert set(few) != set(again)


def test_views_begin_with_the_images():
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1)).astype("uint8")
    views = finetune_photos.augment(finetune_photos.Config(views=3), images, split=0)
    assert views.shape == (18, 28, 28, 1) and views.dtype == "uint8"
    np.testing.assert_array_equal(views[:6], images)
    assert not np.array_equal(views[6:12], images) and not np.array_equal(views[6:12], views[12:])
    np.testing.assert_array_equal(finetune_photos.augment(finetune_photos.Config(views=3), images, split=0), views)


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="at least 2 splits"):
        finetune_photos.main(finetune_photos.Config(splits=(3, 3)))
    with pytest.raises(ValueError, match="`backbone` to be small_cnn, hub:... or mobilenet:...; received 'resnet'"):
        finetune_photos.build(finetune_photos.Config(backbone="resnet"))


def test_groups_match_the_backbone():
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=128)
    groups = finetune_photos.GROUPS["small_cnn"]
    optimizer = kt.finetuning.LayerwiseOptimizer("sgd", kt.finetuning.discriminative_rates(groups))
    optimizer.build(encoder.trainable_variables)
    mobilenet = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(32, 32, 3))
    mobilenet = keras.Model(mobilenet.input, mobilenet.get_layer("conv_pw_12_relu").output)
    groups = finetune_photos.GROUPS["mobilenet"]
    optimizer = kt.finetuning.LayerwiseOptimizer("sgd", kt.finetuning.discriminative_rates(groups))
    optimizer.build(mobilenet.trainable_variables)
    assert None not in optimizer._patterns

import json

import numpy as np
import pytest

import keras_transfer as kt
from recipes import adapt_digits
from tests.recipes.folders import folders

PICTURES = ("samples", "embedding", "curves", "confusion", "report")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of the smallest pair, with all methods."""
    folder = tmp_path_factory.mktemp("run")
    config = adapt_digits.Config(
        pair="digits_photos",
        method=("dann", "deep_coral", "dan"),
        seeds=(0, 1),
        steps=18,
        **folders(folder),
    )
    return folder, adapt_digits.main(config)


def test_report_names_every_arm_and_is_copied_to_the_results(run):
    folder, report = run
    arms = {"source_only", "source_only_batch_norm", "dann", "deep_coral", "dan"}
    assert set(report["runs"]) == arms
    for seeds in report["runs"].values():
        for metrics in seeds.values():
            assert 0.05 < metrics["target_accuracy"] < 1 and 0 <= metrics["target_information"] < np.log(10)
    written = json.loads((folder / "results/adapt_digits/digits_photos.json").read_text())
    assert written["means"] == report["means"]
    assert written["extra"]["config"]["steps"] == 18


def test_draws_its_pictures(run):
    from matplotlib.image import imread

    (drawn,) = (run[0] / "runs").iterdir()
    for name in PICTURES:
        assert imread(drawn / f"{name}.png").shape[0] > 200


def test_export_serves_raw_images(run):
    import tensorflow as tf

    (version,) = (run[0] / "saved_models/adapt_digits").iterdir()
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    images, _ = kt.datasets.digits_on_photos()
    outputs = serve(images=tf.constant(images[:3]))
    assert outputs["class_name"].shape == (3,)
    np.testing.assert_allclose(outputs["probabilities"].numpy().sum(-1), 1, atol=1e-5)
    assert run[1]["extra"]["export"]["differences"]["serving_default"] <= 1e-5


def test_training_never_sees_target_labels():
    config = adapt_digits.Config(pair="digits_photos", steps=18)
    data = adapt_digits.load(config)
    blind = {**data, "target": (data["target"][0], None), "target_test": (data["target_test"][0][:1], np.zeros(1))}
    model, _, _ = adapt_digits.train(config, "dann", 0, blind)
    again, _, _ = adapt_digits.train(config, "dann", 0, data)
    for a, b in zip(model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_test_rows_are_not_trained_on():
    for pair in ("printed_handwritten", "digits_photos"):
        data = adapt_digits.load(adapt_digits.Config(pair=pair))
        for domain in ("source", "target"):
            rows = {image.tobytes() for image in data[domain][0]}
            shared = sum(image.tobytes() in rows for image in data[f"{domain}_test"][0])
            assert shared <= 2, (pair, domain, shared)


@pytest.mark.parametrize("pair", ["usps_mnist", "mnist_usps", "mnist_mnistm"])
def test_public_pairs_load(pair, data_folder):
    if not all((data_folder / name).is_dir() for name in ("mnist", "usps", "bsds500_train")):
        pytest.skip("KERAS_TRANSFER_DATA lacks mnist, usps or bsds500_train")
    data = adapt_digits.load(adapt_digits.Config(pair=pair))
    shapes = {images.shape[1:] for images, _ in data.values()}
    assert (
        len(shapes) == 1
        and {len(images) for images, _ in data.values()}
        == {
            "usps_mnist": {7291, 2007, 8000, 2000},
            "mnist_usps": {8000, 2000, 7291, 2007},
            "mnist_mnistm": {8000, 2000},
        }[pair]
    )


def test_one_seed_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="at least 2 seeds"):
        adapt_digits.main(adapt_digits.Config(seeds=(0,), runs=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()

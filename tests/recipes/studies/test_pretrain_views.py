import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.recipes.studies import pretrain_views
from tests.recipes.runs import check_run, folders

METHODS = ("sup_con", "byol", "simsiam", "barlow_twins", "mae", "inpainting")


@pytest.fixture
def eager():
    """Functions run as they are written: for a few steps, tracing is most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def few_letters(monkeypatch):
    """Letters that are few and small."""
    train, test = (kt.datasets.glyphs("ABC", n=n, image_size=16, seed=seed)[:2] for seed, n in enumerate((96, 24)))
    monkeypatch.setattr(pretrain_views, "load", lambda config: (train, test, tuple("ABC")))
    return train, test


@pytest.mark.usefixtures("one_rate", "few_letters")
def test_a_short_run(tmp_path):
    """VICReg, beside every baseline."""
    config = pretrain_views.Config(
        method="vicreg",
        seeds=(0,),
        epochs=1,
        batch_size=32,
        steps=2,
        labels_per_class=(4,),
        **folders(tmp_path),
    )
    record = pretrain_views.main(config)
    pictures = ("views", "neighbours", "embedding", "curves")
    check_run(tmp_path, "pretrain_views", "glyphs_vicreg", record, pictures)
    assert set(record["all_labels"]) == {"vicreg", "random", "pixels"}
    assert set(record["few_labels"][4]) == {*pretrain_views.PRETRAINED, *pretrain_views.BASELINES}
    for runs in record["few_labels"][4].values():
        assert all(0 <= part["test"] <= 1 for part in runs.values())
    assert {"knn_accuracy", "embedding_std", "loss"} <= set(record["histories"][0])
    assert record["reports"] == {}  # of one seed
    assert record["export"]["differences"]["serving_default"] <= 1e-5


def test_parts_are_apart():
    rng = np.random.default_rng(0)
    images, test = (rng.integers(0, 256, (n, 4, 4, 1)).astype("uint8") for n in (96, 24))
    x, y = pretrain_views.hold_out(images, np.arange(96), test, np.arange(24))
    assert {part: len(rows) for part, rows in x.items()} == {"train": 77, "validation": 19, "test": 24}
    np.testing.assert_array_equal(np.sort(np.concatenate([y["train"], y["validation"]])), np.arange(96))
    for part in ("train", "validation"):
        np.testing.assert_array_equal(x[part], images[y[part]])


def test_report_chooses_by_labels_held_out():
    def arm(validation, *tests):
        return {seed: {"validation": validation, "test": test} for seed, test in enumerate(tests)}

    few = {"probe": arm(0.7, 0.6, 0.7), "lp_ft": arm(0.8, 0.5, 0.6), "views_probe": arm(0.6, 0.9, 0.9)}
    assert pretrain_views.compare(few) is None  # nothing to compare with
    report = pretrain_views.compare({**few, "twin": arm(0.9, 0.3, 0.4), "random_probe": arm(0.9, 0.1, 0.2)})
    assert report.extra["chosen"] == "lp_ft" and report.baseline == "twin"
    assert report.gain("chosen") == report.gain("lp_ft") and report.gain("chosen").mean == pytest.approx(0.2)
    assert set(report.methods) == {*pretrain_views.PRETRAINED, "chosen"}
    few["lp_ft"][0]["validation"] = None  # of one label of each class none is held out
    report = pretrain_views.compare({**few, "twin": arm(0.9, 0.3, 0.4)})
    assert report.extra == {} and set(report.methods) == set(pretrain_views.PRETRAINED)


@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`:UserWarning")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_pretrains(few_letters, method):
    """One epoch of each, without the probes after it."""
    config = pretrain_views.Config(method=method, epochs=1, batch_size=32)
    (images, labels), (test, _) = few_letters
    model, encoder, history, _ = pretrain_views.pretrain(config, 0, images, labels, None)
    assert np.isfinite(history["loss"]).all()
    assert model.predict(test, verbose=0).shape == (24, encoder.output_shape[-1])
    if method in pretrain_views.MASKED:
        figures = pretrain_views.draw_pictures(config, model, [history], test, np.zeros(24, int), "ABC")
        assert len(figures["reconstructions"].axes) == 36


def test_error_of_each_patch_s_mean():
    """Zero for images of plain patches; of noise, the variance within a patch of 49 pixels."""
    images = np.random.default_rng(0).integers(0, 256, (600, 28, 28, 1)).astype("uint8")
    model, _ = pretrain_views.build(pretrain_views.Config(method="mae"), images.shape[1:], 100)
    plain = np.repeat(np.repeat(images[:, ::7, ::7], 7, 1), 7, 2)
    assert pretrain_views.patch_errors(model, plain)["patch_mean"] < 1e-9
    found = pretrain_views.patch_errors(model, images)
    assert found["patch_mean"] == pytest.approx(48 / 49 / 12, rel=0.02)
    assert found["error"] > found["patch_mean"]

import json

import keras
import numpy as np
import pytest

from recipes import pretrain_views
from tests.recipes.folders import folders


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of own pictures: three classes of coloured noise."""
    folder = tmp_path_factory.mktemp("photos") / "mine"
    rng = np.random.default_rng(0)
    for number, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            image = rng.integers(0, 120, (32, 32, 3))
            image[..., number] += 100
            keras.utils.save_img(folder / name / f"{i}.png", image, scale=False)
    return folder


def run(photos, folder, **settings):
    config = pretrain_views.Config(
        images=photos,
        image_size=32,
        epochs=2,
        batch_size=32,
        steps=4,
        labels_per_class=(4,),
        **folders(folder),
        **settings,
    )
    return pretrain_views.main(config)


def test_compares_with_every_baseline_and_leaves_its_record(photos, tmp_path):
    from matplotlib.image import imread

    record = run(photos, tmp_path, seeds=(0, 1))
    written = json.loads((tmp_path / "results/pretrain_views/mine_simclr.json").read_text())
    assert set(written["all_labels"]) == {"simclr", "random", "pixels"}
    assert set(written["few_labels"]["4"]) == {*pretrain_views.PRETRAINED, *pretrain_views.BASELINES}
    report = written["reports"]["4"]
    assert (
        set(report["gains"]) == {*pretrain_views.PRETRAINED, "chosen"}
        and report["extra"]["chosen"] in pretrain_views.PRETRAINED
    )
    for arms in written["few_labels"].values():
        for runs in arms.values():
            assert all(0 <= part[name] <= 1 for part in runs.values() for name in ("validation", "test"))
    assert {"knn_accuracy", "embedding_std", "alignment", "loss"} <= set(written["histories"][0])
    assert record["export"]["differences"]["serving_default"] <= 1e-5
    (drawn,) = (tmp_path / "runs").iterdir()
    for name in ("views", "neighbours", "embedding", "curves"):
        assert imread(drawn / f"{name}.png").shape[0] > 200


@pytest.mark.parametrize("method", ["sup_con", "byol", "simsiam", "barlow_twins", "vicreg", "mae", "inpainting"])
def test_every_method_pretrains(photos, method):
    """One epoch of each, without the probes after it."""
    config = pretrain_views.Config(images=photos, image_size=32, method=method, epochs=1, batch_size=32)
    (images, labels), (test, _), names = pretrain_views.load(config)
    model, history, _ = pretrain_views.pretrain(config, 0, images, labels, None)
    assert np.isfinite(history["loss"]).all()
    assert model.predict(test, verbose=0).shape == (24, model.encoder.output_shape[-1])
    if method in pretrain_views.MASKED:
        figures = pretrain_views.draw_pictures(config, model, [history], test, np.zeros(24, int), names)
        assert len(figures["reconstructions"].axes) == 36


def test_head_answers_as_the_probe_does():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(3.0, 2.0, size=(60, 5)).astype("float32"), np.arange(60) % 3
    probe = pretrain_views.kt.metrics.linear_probe(features, labels)
    logits = np.array(pretrain_views.probe_head(probe)(features))
    np.testing.assert_allclose(logits, probe.decision_function(features), atol=1e-4)


def test_error_of_each_patch_s_mean():
    """Zero for images of plain patches; of noise, the variance within a patch of 49 pixels."""
    images = np.random.default_rng(0).integers(0, 256, (600, 28, 28, 1)).astype("uint8")
    model = pretrain_views.build(pretrain_views.Config(method="mae"), images.shape[1:], 100)
    plain = np.repeat(np.repeat(images[:, ::7, ::7], 7, 1), 7, 2)
    assert pretrain_views.patch_errors(model, plain)["patch_mean"] < 1e-9
    found = pretrain_views.patch_errors(model, images)
    assert found["patch_mean"] == pytest.approx(48 / 49 / 12, rel=0.02)
    assert found["error"] > found["patch_mean"]

import csv
import json

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import few_and_many, learn_from_few
from tests.recipes.encoders import small_bert

pytestmark = pytest.mark.filterwarnings(  # of a few steps
    "ignore:The pseudo-labels have gathered", "ignore:Expected the output to be logits"
)


def config(folder, **change):
    folders = {name: folder / name for name in ("runs", "saved_models", "results")}
    return learn_from_few.Config(**{**folders, "seeds": (0, 1), "steps": 24, "epochs": 1, "image_size": 32, **change})


@pytest.fixture
def few_pictures(monkeypatch):
    """Letters, of which there are few."""
    glyphs = kt.datasets.glyphs
    monkeypatch.setattr(kt.datasets, "glyphs", lambda names, n, **more: glyphs(names[:5], n // 40, **more))
    monkeypatch.setattr(few_and_many, "LETTERS", "ABCDE")


def test_all_stages(tmp_path, few_pictures, capsys, record):
    report = learn_from_few.main(config(tmp_path, labels=4))
    assert list(report["runs"]) == ["twin", "probe", "fine_tune", "fixmatch", "student"]
    extra = report["extra"]
    assert [row["stage"] for row in extra["stages"]] == ["probe", "fine_tune", "fixmatch", "student"]
    assert "Stop after:" in capsys.readouterr().out and extra["stop_after"] in report["runs"]
    logs = extra["logs"]["0"]["fixmatch"]
    assert {"share_sure", "pseudo_label_entropy", "agreement"} <= set(logs)
    assert max(extra["export"]["differences"].values()) < 1e-4
    data = few_and_many.Pictures("glyphs")
    sizes = [sum(part.count_params() for part in parts) for parts in (data.student(), (data.new_encoder(),))]
    whole = sizes[1] + data.new_encoder().output_shape[-1] * data.classes + data.classes
    record("semi_supervised", {"student_share_of_parameters": sizes[0] / whole})
    assert sizes[0] < sizes[1] / 4


def test_methods_from_scratch(tmp_path, few_pictures):
    methods = ("mean_teacher", "mixmatch")
    record = learn_from_few.main(config(tmp_path, labels=4, stages=("semi",), methods=methods))
    assert list(record["runs"]) == ["twin", *methods]
    assert (tmp_path / "results/learn_from_few/glyphs_4_scratch.json").is_file()


def test_your_own_pictures(tmp_path, picture_folder):
    backbone = kt.backbones.small_cnn((32, 32, 3), dim=8)
    backbone.save(tmp_path / "backbone.keras")
    settings = config(tmp_path, images=picture_folder, backbone=f"file:{tmp_path / 'backbone.keras'}", labels=5)
    record = learn_from_few.main(settings)
    assert list(record["runs"]) == ["twin", "probe", "fine_tune", "fixmatch"]
    card = json.loads((tmp_path / "saved_models/learn_from_few/1" / kt.serving.CARD).read_text())
    assert card["inputs"]["serving_default"]["images"]["shape"] == [None, 32, 32, 3]


def test_your_own_texts(tmp_path, monkeypatch):
    pytest.importorskip("keras_hub")
    monkeypatch.setattr(kt.backbones, "minilm", small_bert)
    with open(tmp_path / "texts.csv", "w", newline="") as file:
        rows = [[f"word{i % 7} other text", ("a", "b", "")[i % 3]] for i in range(90)]
        csv.writer(file).writerows([["text", "label"], *rows])
    settings = config(tmp_path, texts=tmp_path / "texts.csv", labels=4, stages=("semi",))
    record = learn_from_few.main(settings)
    assert list(record["runs"]) == ["twin", "probe", "fixmatch"] and record["extra"]["unlabelled"] > 60


def test_views_of_features_are_taken_from_their_own():
    rows = np.arange(18, dtype="float32").reshape(2, 9, 1)
    for first, number in ((0, 5), (5, 4)):
        view = few_and_many.OneOf(first, number)
        seen = {int(value) for _ in range(60) for value in np.asarray(view(rows))[:1].ravel()}
        assert seen == set(range(first, first + number))


@pytest.mark.parametrize(
    "change, message",
    [({"seeds": (0,)}, "at least 2 seeds"), ({"stages": ("pretrain",)}, "the stage `fine_tune` or `semi`")],
)
def test_settings_that_are_none(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        learn_from_few.main(config(tmp_path, **change))


def test_a_twin_serves_the_average_of_its_weights():
    """Keras's own average, and the network's statistics."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    learn_from_few.compiled(network, 0.1, 10, average=True)
    x, y = np.random.default_rng(0).normal(size=(8, 3)).astype("float32"), np.arange(8) % 4
    last = []
    moved = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: last.append(network.layers[0].kernel.numpy().astype("float64"))
    )
    network.fit(x, y, epochs=5, batch_size=8, verbose=0, callbacks=[moved])
    averaged = last[0]  # Keras begins there
    for kernel in last[1:]:
        averaged = 0.99 * averaged + 0.01 * kernel
    np.testing.assert_allclose(network.layers[0].kernel.numpy(), averaged, atol=1e-4)

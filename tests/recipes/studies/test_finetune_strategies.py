import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters
from keras_transfer.recipes.studies import finetune_strategies
from tests.recipes.runs import check_run, folders, served

ARMS = ("lp_ft", "lp_ft_interpolated", "upper", "full", "norms", "gradual", "l2sp", "lora")  # of each kind one
SHORT = {"labels_per_class": 1, "views": 2, "steps": 6}
HEAD = 128 * 44 + 44


@pytest.fixture(scope="module")
def pretrained():
    """An encoder that is pretrained on a few letters, once for all tests."""
    return finetune_letters.pretrain(finetune_letters.Config(pretraining_images=1000))


@pytest.fixture(scope="module")
def arms(pretrained):
    """Every arm on one split: the model that it serves and its metrics."""
    config = finetune_strategies.Config(strategy=ARMS, **SHORT)
    data = finetune_strategies.load(config)
    drawn, found, head = finetune_strategies.draw(config, data, 0), {}, None
    for arm, measured, _, head in finetune_strategies.fit_heads(config, data, drawn, pretrained):
        found[arm] = head.get_weights(), measured
    for strategy in dict.fromkeys(arm.removesuffix("_interpolated") for arm in ARMS):
        for arm, model, measured, _ in finetune_strategies.tune(config, 0, strategy, data, drawn, pretrained, head):
            found[arm] = model.get_weights(), measured
    return found


def test_costs_of_every_arm(arms):
    assert set(arms) == {*finetune_letters.BASELINES, *ARMS}
    costs = {arm: measured for arm, (_, measured) in arms.items()}
    assert all(0 <= row["accuracy"] <= 1 and row["seconds"] > 0 and row["file_megabytes"] > 0 for row in costs.values())
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=128)
    everything = sum(int(np.prod(w.shape)) for w in encoder.trainable_weights)
    norms = sum(int(np.prod(w.shape)) for w in encoder.trainable_weights if w.name in ("gamma", "beta"))
    assert costs["logistic_regression"]["trained_parameters"] == HEAD
    for arm in ("lp_ft", "full", "gradual", "l2sp"):
        assert costs[arm]["trained_parameters"] == everything + HEAD
    assert costs["norms"]["trained_parameters"] == norms + HEAD
    assert costs["lora"]["file_megabytes"] < costs["full"]["file_megabytes"] / 3


def test_what_each_strategy_moves(arms, pretrained):
    """The first kernel moves where all weights or its adapter train, and stays where the rest does."""
    start = pretrained.get_weights()[0]
    for arm in ("lp_ft", "full", "l2sp", "lora"):
        assert np.abs(arms[arm][0][0] - start).max() > 1e-4, arm
    for arm in ("upper", "norms"):
        np.testing.assert_array_equal(arms[arm][0][0], start)


def test_interpolated_weights_lie_halfway(arms, pretrained):
    start = pretrained.get_weights()
    for first, halfway, last in zip(start, arms["lp_ft_interpolated"][0], arms["lp_ft"][0]):
        np.testing.assert_allclose(halfway, (first + last) / 2, atol=1e-5)


def test_a_short_run(tmp_path, pretrained, monkeypatch):
    """The first arm is exported as it was before its weights were interpolated."""
    monkeypatch.setattr(finetune_letters, "pretrain", lambda config: pretrained)
    config = finetune_strategies.Config(
        strategy=("lora", "lora_interpolated"), splits=(0, 1), **SHORT, **folders(tmp_path)
    )
    report = finetune_strategies.main(config)
    assert set(report["runs"]) == {*finetune_letters.BASELINES, "lora", "lora_interpolated"}
    pictures = ("samples", "curves", "predictions", "report")
    version = check_run(tmp_path, "finetune_strategies", "glyphs_small_cnn_1", report, pictures)
    images, labels, _ = finetune_strategies.load(config)
    _, rest = finetune_letters.draw_split(1, labels, 0)
    accuracy = (served(version)(images=images[rest])["class_id"] == labels[rest]).mean()
    assert accuracy == pytest.approx(report["runs"]["lora"]["0"]["accuracy"], abs=2 / len(rest))  # rounding
    assert report["extra"]["settings"] == {arm: list(s) for arm, s in finetune_strategies.SETTINGS["glyphs"].items()}


def test_photographs_are_augmented_in_their_own_way():
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8")
    views = finetune_strategies.augment(finetune_strategies.Config(data="pacs", views=3), images, split=0)
    assert views.shape == (12, 32, 32, 3) and views.dtype == "uint8"
    np.testing.assert_array_equal(views[:4], images)
    assert not np.array_equal(views[4:8], images)


def test_settings_are_those_asked_for():
    config = finetune_strategies.Config(learning_rate=0.5, steps=7)
    assert finetune_strategies.settings(config, "full") == (0.5, 7)
    assert finetune_strategies.settings(finetune_strategies.Config(), "norms") == (2e-2, 1980)


def test_bad_input():
    with pytest.raises(ValueError, match="at least 2 splits"):
        finetune_strategies.main(finetune_strategies.Config(splits=(3,)))
    with pytest.raises(ValueError, match="`backbone` to be small_cnn, hub:... or mobilenet:...; received 'resnet'"):
        finetune_strategies.build(finetune_strategies.Config(backbone="resnet"))


def test_groups_match_the_backbone():
    encoder = kt.backbones.small_cnn((28, 28, 1), dim=128)
    groups = finetune_strategies.GROUPS["small_cnn"]
    optimizer = kt.finetuning.LayerwiseOptimizer("sgd", kt.finetuning.discriminative_rates(groups))
    optimizer.build(encoder.trainable_variables)
    mobilenet = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(32, 32, 3))
    mobilenet = keras.Model(mobilenet.input, mobilenet.get_layer("conv_pw_12_relu").output)
    groups = finetune_strategies.GROUPS["mobilenet"]
    optimizer = kt.finetuning.LayerwiseOptimizer("sgd", kt.finetuning.discriminative_rates(groups))
    optimizer.build(mobilenet.trainable_variables)
    assert None not in optimizer._patterns

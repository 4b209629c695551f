import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes.studies import choose_backbones
from tests.recipes.runs import check_run


def split(recommended, **backbones):
    """What one draw finds: `{name: (LogME, test accuracies of the families)}`."""
    found = {
        name: {"log_me": log_me, "h_score": -log_me, "test": dict(zip(choose_backbones.FAMILIES, accuracies))}
        for name, (log_me, accuracies) in backbones.items()
    }
    return {"backbones": found, "recommended": recommended}


def test_summary_ranks_backbones_and_measures_the_regret():
    """The means over both draws rank as LogME does, but for the probes; the best arm has .85 and .75 in the test."""
    draws = {
        0: split("a, fine_tuned", a=(3, (0.5, 0.7, 0.85)), b=(2, (0.6, 0.7, 0.7)), c=(1, (0.2, 0.3, 0.4))),
        1: split("b, probe", a=(3, (0.5, 0.7, 0.75)), b=(2, (0.6, 0.6, 0.8)), c=(1, (0.2, 0.3, 0.4))),
    }
    found = choose_backbones.summarise(draws)
    assert found["best"] == "a, fine_tuned"
    assert found["means"]["a"]["fine_tuned"] == pytest.approx(0.8) and found["means"]["b"]["log_me"] == 2
    assert found["spearman"]["log_me"]["fine_tuned"] == pytest.approx(1.0)
    assert found["spearman"]["h_score"]["fine_tuned"] == pytest.approx(-1.0)
    assert found["spearman"]["log_me"]["probe"] == pytest.approx(0.5)  # ranks 2, 3, 1 against 3, 2, 1
    assert found["regret"] == pytest.approx((0.85 - 0.85 + 0.75 - 0.6) / 2)
    assert found["regret_by_draw"] == pytest.approx((0.85 - 0.85 + 0.8 - 0.6) / 2)


def test_study(tmp_path, monkeypatch):
    monkeypatch.setattr(choose_backbones, "LETTERS", 120)
    monkeypatch.setattr(kt.datasets, "script_letters", {"georgian": "ABCD", "greek": "ΕΦ", "cyrillic": "ДЖ"}.get)
    config = choose_backbones.Config(
        data="georgian",
        backbones=("letters", "untrained"),
        splits=(0,),
        labels_per_class=4,
        views=2,
        steps=2,
        batch_size=4,
        candidates=1,
        folds=2,
        pretraining_images=64,
        runs=tmp_path / "runs",
        results=tmp_path / "results",
    )
    record = choose_backbones.main(config)
    check_run(tmp_path, "choose_backbones", "georgian", record, ("log_me",))
    draw = record["splits"][0]
    (candidate,) = draw["candidates"]
    log_me = {name: found["log_me"] for name, found in draw["backbones"].items()}
    assert candidate == max(log_me, key=log_me.get)
    assert set(draw["held_out"]) == {f"{candidate}, {family}" for family in choose_backbones.FAMILIES}
    assert draw["recommended"] == max(draw["held_out"], key=draw["held_out"].get)
    few, test = choose_backbones.draw(config, choose_backbones.load(config), 0)
    assert len(few) == 16 and len(test) == 60 and not set(few) & set(test)


def test_fine_tuning_begins_anew_each_time():
    config = choose_backbones.Config(steps=2, batch_size=4, backbones=("untrained",))
    arms = choose_backbones.Arms(config, "untrained", None, classes=2)
    images, labels = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3)).astype("uint8"), np.arange(8) % 2
    maps = arms.maps(images)
    np.testing.assert_array_equal(maps, images)  # all of it is fine-tuned
    features = arms.features(maps)
    probe = kt.metrics.linear_probe(features, labels)
    first = arms.fine_tuned(maps, labels, probe, seed=0).get_weights()
    np.testing.assert_array_equal(arms.features(maps), features)
    other = arms.fine_tuned(maps, labels, probe, seed=1).get_weights()
    again = arms.fine_tuned(maps, labels, probe, seed=0).get_weights()
    for a, b in zip(first, again):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert any(np.abs(a - b).max() > 1e-5 for a, b in zip(first, other))

import json

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import finetune_letters
from keras_transfer.recipes.finetune_photos import BASELINES
from keras_transfer.recipes.studies import tune_photos
from tests.recipes.runs import check_run, folders


def test_a_short_run(tmp_path, monkeypatch):
    """Arms that share weights: none of share 0 or 1 of one depth is that of another."""
    monkeypatch.setitem(tune_photos.SETTINGS, "glyphs", ({"all": 1.0, "two_thirds": 0.67}, (1e-2,), (3,), 32))
    monkeypatch.setattr(finetune_letters, "pretrain", lambda config: kt.backbones.small_cnn((28, 28, 1)))
    places = folders(tmp_path)
    config = tune_photos.Config(
        labels_per_class=1, splits=(0, 1), views=2, runs=places["runs"], results=places["results"]
    )
    report = tune_photos.main(config)
    fixed = {"all", "all_interpolated", "two_thirds", "two_thirds_interpolated"}
    assert set(report["runs"]) == {*BASELINES, "tuned", *fixed}
    check_run(tmp_path, "tune_photos", "glyphs_1", report, ("samples", "report"))
    for split, chosen in report["extra"]["chosen"].items():
        assert chosen["setting"].items() >= {"depth": 1.0, "rate": 1e-2, "steps": 3, "share": 0.5}.items()
        assert chosen["scores"] == []  # one label of a class chooses nothing
        found = {arm: report["runs"][arm][split]["accuracy"] for arm in report["runs"]}
        assert found["tuned"] == found["all_interpolated"]  # what is taken where nothing is chosen
    assert len({json.dumps(runs) for arm, runs in report["runs"].items() if arm in fixed}) > 1
    assert np.isfinite([gain["mean"] for gain in report["gains"].values()]).all()


def test_one_split_is_refused():
    with pytest.raises(ValueError, match="at least 2 splits"):
        tune_photos.main(tune_photos.Config(splits=(0,)))

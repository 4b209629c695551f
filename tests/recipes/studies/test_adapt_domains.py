import functools
import json

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes.studies import adapt_domains


@functools.cache
def digits():
    """Handwritten digits as three domains of features: as they are, turned, and darker."""
    images, labels = kt.datasets.digits()
    rows = images.reshape(len(images), -1).astype("float32")[labels < 7], labels[labels < 7]
    turned = images.transpose(0, 2, 1, 3).reshape(len(images), -1).astype("float32")[labels < 7]
    return {"photo": rows, "art_painting": (turned, rows[1]), "cartoon": (rows[0] ** 0.5, rows[1])}


def config(folder, **change):
    folders = {"runs": folder / "runs", "results": folder / "results"}
    return adapt_domains.Config("small_cnn", seeds=(0, 1), steps=20, method=("mcc", "dan"), **{**folders, **change})


def test_a_short_run(tmp_path):
    record = adapt_domains.main(config(tmp_path, domains=("photo", "cartoon")), lambda config: digits())
    assert list(record["reports"]) == ["photo_cartoon", "cartoon_photo"]
    arms = {*adapt_domains.BASELINES, "mcc", "dan"}
    assert set(record["means"]) == arms | {"chosen", "oracle"}
    for report in record["reports"].values():
        assert set(report["runs"]) == arms and report["extra"]["chosen"] in arms
        assert report["means"]["source_only"]["source_accuracy"] > 0.6  # chance is .14
    assert record["means"]["oracle"] >= record["means"]["chosen"]
    written = json.loads((tmp_path / "results/adapt_domains/pacs.json").read_text())
    assert written["means"] == record["means"]


def test_source_and_its_test_are_apart_and_the_target_is_whole():
    photo, cartoon = digits()["photo"], digits()["cartoon"]
    data = adapt_domains.pair_of(photo, cartoon)
    parts = [{row.tobytes() for row in data[name].rows} for name in ("source", "source_test")]
    assert len(data["source"].labels) + len(data["source_test"].labels) == len(photo[1])
    assert len(parts[0] & parts[1]) <= 2  # some digits are equal
    np.testing.assert_array_equal(data["target"].rows, cartoon[0])


def test_the_score_chooses_in_each_pair_and_the_oracle_is_the_best():
    def report(chosen, **accuracies):
        means = {arm: {"target_accuracy": accuracy} for arm, accuracy in accuracies.items()}
        return {"means": means, "extra": {"chosen": chosen}}

    found = adapt_domains.summary({"a_b": report("mcc", mcc=0.6, dan=0.8), "b_a": report("dan", mcc=0.4, dan=0.2)})
    assert found == pytest.approx({"mcc": 0.5, "dan": 0.5, "chosen": 0.4, "oracle": 0.6})


@pytest.mark.parametrize("change", [{"seeds": (0,)}, {"domains": ("photo",)}])
def test_one_seed_or_domain_is_refused_before_anything_is_read(tmp_path, change):
    with pytest.raises(ValueError, match="at least 2 seeds and 2 domains"):
        adapt_domains.main(adapt_domains.Config("small_cnn", runs=tmp_path / "runs", **change))
    assert not (tmp_path / "runs").exists()

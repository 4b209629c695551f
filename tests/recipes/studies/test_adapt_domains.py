import functools
import json

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import domains
from keras_transfer.recipes.studies import adapt_domains


@functools.cache
def digits():
    """Handwritten digits as three domains of features: as they are, turned, and darker."""
    images, labels = kt.datasets.digits()
    rows = images.reshape(len(images), -1).astype("float32")[labels < 7], labels[labels < 7]
    turned = images.transpose(0, 2, 1, 3).reshape(len(images), -1).astype("float32")[labels < 7]
    return {"photo": rows, "art_painting": (turned, rows[1]), "cartoon": (rows[0] ** 0.5, rows[1])}


def load(config):
    rows = digits()
    return lambda source, target: adapt_domains.pair_of(rows[source], rows[target])


def config(folder, **change):
    folders = {"runs": folder / "runs", "results": folder / "results"}
    return adapt_domains.Config(seeds=(0, 1), steps=20, method=("mcc",), **{**folders, **change})


def test_a_short_run(tmp_path):
    record = adapt_domains.main(config(tmp_path, domains=("photo", "cartoon")), load)
    assert list(record["reports"]) == ["photo_cartoon", "cartoon_photo"]
    arms = {"nearest_neighbour", *adapt_domains.BASELINES, "mcc"}
    assert set(record["means"]) == arms | {"chosen", "oracle"}
    for report in record["reports"].values():
        assert set(report["runs"]) == arms and report["extra"]["chosen"] in arms
        assert report["means"]["source_only"]["source_accuracy"] > 0.6  # chance is .14
        for found in report["extra"]["epochs"].values():
            assert found["oracle"] >= max(found["score"], found["last"])
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


def test_words_are_weighed_by_both_domains_and_not_standardised(tmp_path):
    """A word of every text counts less than one of few, and rows have one length."""
    counts = np.float32([[1, 0, 2], [1, 1, 0]]), np.float32([[1, 0, 0], [1, 3, 1]])
    (one, _), (other, labels) = adapt_domains.words((counts[0], "labels"), (counts[1], "of the other"))
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([one, other]), axis=1), adapt_domains.LENGTH, rtol=1e-5)
    assert one[1, 0] < one[1, 1] and labels == "of the other"
    images, digit = kt.datasets.digits()
    rows = images.reshape(len(images), -1)[digit < 2].astype("float32"), digit[digit < 2]

    settings = config(tmp_path, data="amazon_reviews", domains=("books", "dvd"))
    found = adapt_domains.measure(settings, adapt_domains.pair_of(*adapt_domains.words(rows, rows)))["metrics"]
    assert list(found) == ["logistic_regression", "source_only", "mcc"]
    assert found["logistic_regression"][0]["target_accuracy"] > 0.95


def test_sentences_and_tweets(data_folder):
    found = adapt_domains.sentiment()
    assert list(found) == list(adapt_domains.DOMAINS["sentiment"])
    for texts, labels in found.values():
        assert len(texts) == len(labels) > 6000 and set(labels) == {0, 1}


@pytest.mark.parametrize("change", [{"seeds": (0,)}, {"domains": ("photo",)}, {"domains": ("books", "dvd")}])
def test_one_seed_or_domain_is_refused_before_anything_is_read(tmp_path, change):
    with pytest.raises(ValueError, match="at least 2 seeds and 2 domains"):
        adapt_domains.main(adapt_domains.Config(runs=tmp_path / "runs", **change))
    assert not (tmp_path / "runs").exists()


def test_the_nearest_neighbour_is_that_of_each_domain_by_itself():
    """A domain that is another one, scaled and shifted, has the same neighbours as that one has in itself."""
    x, y = digits()["photo"]
    data = adapt_domains.pair_of((x, y), (3.0 * x + 5.0, y), held_out=False)
    found = domains.nearest_neighbour(data)
    assert found["target_accuracy"] > 0.99 and found["source_accuracy"] > 0.99


def test_what_choosing_an_epoch_costs():
    histories = {
        "dan": [
            {"target_information": [1.0, 3.0, 2.0], "oracle_accuracy": [0.9, 0.6, 0.7]},
            {"target_information": [1.0, 2.0, 3.0], "oracle_accuracy": [0.5, 0.6, 0.7]},
        ],
        "adabn": [{}],
    }
    found = domains.epochs_chosen(histories)
    assert found == {"dan": pytest.approx({"last": 0.7, "score": 0.65, "oracle": 0.8})}

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes.studies import pretrain_colours
from tests.recipes.runs import check_run, folders


@pytest.fixture
def few_pictures(monkeypatch):
    """Three domains of coloured noise, of the shape of PACS: each of two classes has its own colour."""

    def pacs(domain, image_size):
        rng = np.random.default_rng(pretrain_colours.DOMAINS.index(domain))
        labels = np.repeat([0, 1], 24)
        images = (
            rng.integers(0, 120, (48, image_size, image_size, 3)) + 100 * np.eye(3, dtype=int)[labels][:, None, None]
        )
        return images.astype("uint8"), labels.astype("int32")

    monkeypatch.setattr(kt.datasets, "pacs", pacs)


@pytest.mark.usefixtures("few_pictures")
def test_a_short_run(tmp_path):
    settings = {"image_size": 16, "seeds": (0,), "epochs": 1, "batch_size": 32}
    places = {name: folder for name, folder in folders(tmp_path).items() if name != "saved_models"}
    record = pretrain_colours.main(pretrain_colours.Config(**settings, **places))
    check_run(tmp_path, "pretrain_colours", "pacs", record, ("views", "curves"))
    assert set(record["accuracies"]) == set(pretrain_colours.ARMS)
    assert record["pictures"] == {"train": 72, "test": 72}
    for runs in record["accuracies"].values():
        means = [runs[0][f"{domain}_accuracy"] for domain in pretrain_colours.DOMAINS]
        assert runs[0]["accuracy"] == pytest.approx(np.mean(means))
    assert record["accuracies"]["pixels"][0]["accuracy"] == 1.0  # colours tell these classes
    assert min(record["views_per_second"].values()) > 0 and record["reports"] == {}  # of one seed


@pytest.mark.usefixtures("few_pictures")
def test_settings_are_chosen_without_the_pictures_that_test():
    sets = {}
    for held_out in ("test", "validation"):
        data = pretrain_colours.load(pretrain_colours.Config(image_size=8, held_out=held_out))
        for part in ("train", "test"):
            sets[held_out, part] = {image.tobytes() for held in data.values() for image in held[part][0]}
            assert all(np.ptp(np.bincount(held[part][1])) <= 1 for held in data.values())
    assert not sets["test", "train"] & sets["test", "test"]
    assert not sets["validation", "train"] & sets["validation", "test"]
    assert sets["validation", "train"] | sets["validation", "test"] == sets["test", "train"]


def test_reports_compare_with_each_baseline():
    means = {"contrastive_views": 0.6, "crops": 0.55, "random": 0.4, "pixels": 0.45}
    found = {arm: {seed: {"accuracy": mean + 0.01 * seed} for seed in range(3)} for arm, mean in means.items()}
    reports = pretrain_colours.reports(found)
    gains = {baseline: report.gain("contrastive_views").mean for baseline, report in reports.items()}
    assert gains == pytest.approx({"random": 0.2, "pixels": 0.15, "crops": 0.05})
    assert reports["random"].gain("crops").mean == pytest.approx(0.15) and reports["crops"].methods == [
        "contrastive_views"
    ]

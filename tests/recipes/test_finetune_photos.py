import json

import numpy as np
import pytest

from keras_transfer.recipes import finetune_photos, own_pictures
from tests.recipes.runs import check_run, folders, served

SHORT = {"depths": (0.5,), "rates": (1e-3,), "steps": (2,), "views": 2}


@pytest.fixture(scope="module")
def run(picture_folder, tmp_path_factory):
    """A short run on own pictures: on two seeds, for an interval."""
    folder = tmp_path_factory.mktemp("run")
    data = own_pictures.Options(images=picture_folder, image_size=32)
    config = finetune_photos.Config(data=data, seeds=(0, 1), **SHORT, **folders(folder))
    return folder, config, finetune_photos.main(config)


def test_record_pictures_and_export(run, picture_folder):
    folder, config, report = run
    assert set(report["runs"]) == {*finetune_photos.BASELINES, "tuned"}
    assert report["baseline"] in finetune_photos.BASELINES and set(report["gains"]) == {"tuned"}
    for chosen in report["extra"]["chosen"].values():
        assert chosen["depth"] == 0.5 and chosen["share"] in (0.0, 0.5, 1.0)
    version = check_run(folder, "finetune_photos", picture_folder.name, report, ("predictions", "report"))
    test = own_pictures.load(config.data).test
    answers = served(version)(images=test[:])
    assert {name.decode() for name in answers["class_name"]} <= set("ABCD")
    accuracy = (answers["class_id"] == test.labels).mean()
    assert accuracy == pytest.approx(report["runs"]["tuned"]["0"]["accuracy"], abs=1 / len(test))  # rounding
    (kept,) = (folder / "runs").glob("*/model.keras")
    assert kept.stat().st_size > 0
    assert json.loads((version / "assets.extra/card.json").read_text())["classes"] == list("ABCD")


def test_a_draw_is_of_each_class_what_there_is():
    labels = np.array([0, 1, 1, 1, 2, 2])
    few = finetune_photos.draw(labels, per_class=2, seed=0)
    assert np.bincount(labels[few]).tolist() == [1, 2, 2] and len(set(few)) == 5

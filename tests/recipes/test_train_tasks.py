import json

import numpy as np
import pytest

from recipes import train_tasks
from tests.recipes.folders import folders


def test_a_short_run(tmp_path):
    from matplotlib.image import imread

    config = train_tasks.Config(
        weighting="cagrad",
        seeds=(0, 1),
        images=4000,
        epochs=3,
        batch_size=64,
        rates=(2e-3,),
        **folders(tmp_path),
    )
    record = train_tasks.main(config)
    written = json.loads((tmp_path / "results/train_tasks/glyphs_shared_encoder_cagrad.json").read_text())
    assert written["parameters"] == record["parameters"]
    tasks = {"script", "case", "base", "diacritic"}
    assert set(record["accuracy"]) == tasks | {"shared"} and set(record["reports"]) == tasks
    assert set(record["export"]["differences"]) == tasks | {"serving_default", "embed"}
    assert all(history["loss"][-1] < 0.9 * history["loss"][0] for history in record["histories"])
    assert {"script_weight", "script_case_cosine"} <= set(record["histories"][0])
    (drawn,) = (tmp_path / "runs").iterdir()
    assert all(imread(drawn / f"{name}.png").shape[0] > 200 for name in ("curves", "samples", "accuracy", *tasks))


def test_labels_are_places_among_the_classes():
    x, y, names = train_tasks.load(train_tasks.Config(images=3000))
    assert {part: len(rows) for part, rows in x.items()} == {"train": 1000, "validation": 2000, "test": 5000}
    for task, classes in names.items():
        assert all(labels.min() >= -1 and labels.max() < len(classes) for labels in (y[part][task] for part in y))
    assert np.mean(y["test"]["case"] >= 0) == 1


@pytest.mark.parametrize("architecture", train_tasks.ARCHITECTURES)
def test_every_architecture_answers_all_tasks(architecture):
    names = {"left": "0123456789", "right": "01234"}
    model = train_tasks.build(train_tasks.Config(architecture=architecture, weighting="pcgrad"), (36, 36, 1), names)
    answers = model(np.zeros((2, 36, 36, 1), "uint8"))
    assert {task: tuple(logits.shape) for task, logits in answers.items()} == {"left": (2, 10), "right": (2, 5)}


def test_too_few_images_are_an_error():
    with pytest.raises(ValueError, match="more than 2000 `images`, which choose the rates; received 2000"):
        train_tasks.main(train_tasks.Config(images=2000))

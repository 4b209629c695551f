import json

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import several_text_tasks
from tests.recipes.encoders import small_bert
from tests.recipes.runs import folders


def test_a_short_run(tmp_path, monkeypatch):
    pytest.importorskip("keras_hub")
    monkeypatch.setattr(kt.backbones, "minilm", small_bert)
    tasks = {task: several_text_tasks.TASKS[task] for task in ("sentiment", "emotion")}
    monkeypatch.setattr(several_text_tasks, "TASKS", tasks)
    rng, words = np.random.default_rng(0), np.array(["good", "bad", "sad", "glad", "who", "where", "when", "how"])

    def texts(task, rows):
        y = (np.arange(rows) % len(several_text_tasks.TASKS[task])).astype("int32")
        return np.array([f"{words[label]} {rng.integers(9)}" for label in y], object), y

    data = {task: {"train": texts(task, 48), "test": texts(task, 24)} for task in several_text_tasks.TASKS}
    monkeypatch.setattr(several_text_tasks, "load", lambda config: data)
    config = several_text_tasks.Config(seeds=(0, 1), labels=40, steps=20, length=8, **folders(tmp_path))
    record = several_text_tasks.main(config)
    assert set(record["reports"]) == set(several_text_tasks.TASKS)
    for report in record["reports"].values():
        assert set(report["runs"]) == {"regression", "single", "shared", "experts"}
        assert report["means"]["shared"]["accuracy"] > 0.4
    assert "serving_default" in record["export"]["differences"]
    written = json.loads((tmp_path / "results/several_text_tasks/texts.json").read_text())
    assert written["reports"] == record["reports"]


def test_one_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 2 seeds"):
        several_text_tasks.main(several_text_tasks.Config(seeds=(0,), **folders(tmp_path)))

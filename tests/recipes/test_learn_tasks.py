import numpy as np
import pytest

from keras_transfer.recipes import learn_tasks
from tests.recipes.runs import check_run, folders, served


def config(folder, **change):
    short = {"method": ("naive", "replay"), "seeds": (0, 1), "steps": 3, "units": 8, "per_class": 4}
    return learn_tasks.Config(**{**short, "information_rows": 50, **change}, **folders(folder))


@pytest.fixture(autouse=True)
def fewer_digits(monkeypatch):
    digits = learn_tasks.kt.datasets.printed_digits
    monkeypatch.setattr(learn_tasks.kt.datasets, "printed_digits", lambda n, seed: digits(n // 50, seed=seed))


def test_a_short_run(tmp_path):
    record = learn_tasks.main(config(tmp_path))
    version = check_run(tmp_path, "learn_tasks", "glyphs_class", record, ("matrices", "over_time", "report"))
    assert list(record["runs"]) == ["naive", "replay"]
    matrix = np.array(record["extra"]["matrices"]["replay"]["0"])
    assert matrix.shape == (5, 5) and record["runs"]["replay"]["0"]["accuracy"] == pytest.approx(matrix[-1].mean())
    assert record["extra"]["bytes"] == {"naive": 0, "replay": 40 * (784 * 4 + 4)}
    assert len(record["extra"]["verdicts"]["replay"]) == 5
    x, y = learn_tasks.split(config(tmp_path), learn_tasks.load(config(tmp_path))[1])[4]
    answers = served(version)(images=x)["class_id"]
    assert (answers == y).mean() == pytest.approx(matrix[-1, 4])  # the model that is exported is the one measured


@pytest.mark.parametrize("scenario, outputs, tasks", [("task", 10, 5), ("domain", 2, 5), ("permuted", 10, 10)])
def test_arms_learn_every_scenario(tmp_path, scenario, outputs, tasks):
    settings = config(tmp_path, scenario=scenario, steps=1, strength=0.1)
    train, test = learn_tasks.load(settings)
    parts, tests = learn_tasks.split(settings, train), learn_tasks.split(settings, test)
    assert len(parts) == tasks
    arms = {"task": ("ewc", "agem"), "domain": ("interpolation", "l2", "gdumb"), "permuted": learn_tasks.UPPER}
    for arm in arms[scenario]:
        found, model = learn_tasks.learn(settings, arm, 0, parts[:2], tests[:2])
        assert np.shape(found["matrix"]) == (2, 2) and np.isfinite(found["matrix"]).all()
        assert model.predict(tests[0][0][:2], verbose=0).shape == (2, outputs)
        assert (found["bytes"] > 0) == (arm in ("replay", "agem", "derpp", "gdumb"))


def test_icarl_is_of_classes_and_naive_has_to_be_there(tmp_path):
    for change in ({"method": ("naive", "icarl"), "scenario": "task"}, {"method": ("replay",)}, {"seeds": (0,)}):
        with pytest.raises(ValueError, match="at least 2 seeds, `naive` and at least one method"):
            learn_tasks.main(config(tmp_path, **change))

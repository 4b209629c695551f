import json

import numpy as np
import pytest

from recipes import balance_tasks
from tests.recipes.folders import folders

SHORT = {"images": 4000, "steps": 30, "batch_size": 128, "rates": (2e-3,)}


@pytest.fixture
def garments(tmp_path, monkeypatch):
    """Images of the real size, without a download: each class has its own brightness."""
    rng = np.random.default_rng(0)

    def load_data():
        labels = [rng.integers(0, 10, n).astype("uint8") for n in (4000, 1000)]
        images = [(rng.random((len(y), 28, 28)) * 25 * (y + 1)[:, None, None]).astype("uint8") for y in labels]
        return list(zip(images, labels))

    monkeypatch.setattr("keras.datasets.fashion_mnist.load_data", load_data)


@pytest.mark.usefixtures("garments")
def test_a_short_run(tmp_path):
    from matplotlib.image import imread

    where = folders(tmp_path)
    where.pop("saved_models")
    config = balance_tasks.Config("scaled", ("equal", "mgda"), (0, 1), **SHORT, **where)
    record = balance_tasks.main(config)
    written = json.loads((tmp_path / "results/balance_tasks/scaled.json").read_text())
    assert written["rates"] == record["rates"]
    tests = record["tests"]
    assert set(tests) == {"single_left", "single_right", "equal", "mgda"}
    for seed, found in tests["mgda"].items():
        left, right = (found[task] / tests[f"single_{task}"][seed][task] - 1 for task in ("left", "right"))
        np.testing.assert_allclose(found["change"], 50 * (left + right))
    weights = record["histories"]["mgda"][0]["left_weight"][-1]
    assert weights > 10 * record["histories"]["mgda"][0]["right_weight"][-1]  # the right loss counts 100 times
    (drawn,) = (tmp_path / "runs").iterdir()
    assert all(imread(drawn / f"{name}.png").shape[0] > 200 for name in ("curves", "report"))


@pytest.mark.usefixtures("garments")
def test_reconstruction_counts_less_error_as_a_gain(tmp_path):
    where = folders(tmp_path)
    where.pop("saved_models")
    record = balance_tasks.main(balance_tasks.Config("reconstruction", ("uncertainty",), (0,), **SHORT, **where))
    found, left, image = (record["tests"][arm][0] for arm in ("uncertainty", "single_left", "single_image"))
    expected = 50 * (found["left"] / left["left"] - 1 + 1 - found["image"] / image["image"])
    np.testing.assert_allclose(found["change"], expected)
    assert 0 < image["image"] < 0.2 and record["report"] is None

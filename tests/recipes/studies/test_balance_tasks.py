import numpy as np
import pytest

from keras_transfer.recipes.studies import balance_tasks
from tests.recipes.runs import check_run, folders

SHORT = {"images": 4000, "batch_size": 128, "rates": (2e-3,)}


def places(folder):
    return {name: path for name, path in folders(folder).items() if name != "saved_models"}


@pytest.mark.usefixtures("garments")
def test_a_short_run(tmp_path):
    config = balance_tasks.Config("scaled", ("equal", "mgda"), (0, 1), steps=10, **SHORT, **places(tmp_path))
    record = balance_tasks.main(config)
    check_run(tmp_path, "balance_tasks", "scaled", record, ("curves", "report"))
    tests = record["tests"]
    assert set(tests) == {"single_left", "single_right", "equal", "mgda"}
    for seed, found in tests["mgda"].items():
        left, right = (found[task] / tests[f"single_{task}"][seed][task] - 1 for task in ("left", "right"))
        np.testing.assert_allclose(found["change"], 50 * (left + right))
    history = record["histories"]["mgda"][0]  # the right loss counts 100 times; ten seeds found weights 57 to 157 apart
    assert history["left_weight"][-1] > 10 * history["right_weight"][-1]


@pytest.mark.usefixtures("garments")
def test_reconstruction_counts_less_error_as_a_gain(tmp_path):
    config = balance_tasks.Config("reconstruction", ("uncertainty",), (0,), steps=2, **SHORT, **places(tmp_path))
    record = balance_tasks.main(config)
    found, left, image = (record["tests"][arm][0] for arm in ("uncertainty", "single_left", "single_image"))
    expected = 50 * (found["left"] / left["left"] - 1 + 1 - found["image"] / image["image"])
    np.testing.assert_allclose(found["change"], expected)
    assert image["image"] > 0 and record["report"] is None


def test_losses_of_the_tasks():
    """Cross-entropy of even logits is log 10, the scaled one 100 times that; of the image the squares are summed."""
    labels, logits = np.array([3]), np.zeros((1, 10), "float32")
    for pair, task, expected in (("plain", "right", 1), ("scaled", "right", 100), ("scaled", "left", 1)):
        loss = balance_tasks.loss(balance_tasks.Config(pair), task)(labels, logits)
        np.testing.assert_allclose(loss, [expected * np.log(10)], rtol=1e-5)
    pixels = np.array([[0, 255, 255]], "uint8")
    loss = balance_tasks.loss(balance_tasks.Config("reconstruction"), "image")(pixels, np.float32([[0.5, 0.5, 1.0]]))
    np.testing.assert_allclose(loss, [0.5])

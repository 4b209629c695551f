import numpy as np

from keras_transfer.recipes import maml_sinusoid
from tests.recipes.runs import check_run, folders, served


def test_a_short_run(tmp_path):
    config = maml_sinusoid.Config(seeds=(0,), iterations=300, test_steps=2, test_tasks=100, **folders(tmp_path))
    record = maml_sinusoid.main(config)
    version = check_run(tmp_path, "maml_sinusoid", "10", record, ("fits",))
    for errors in record["mean_squared_error"].values():
        assert np.shape(errors) == (1, 3) and np.isfinite(errors).all() and np.min(errors) > 0
    (after,) = record["mean_squared_error"]["maml"]
    assert after[2] < 0.99 * after[0]  # gradient steps on the support help; of ten seeds .89 to .97
    assert record["fine_tuning_rates"][0] in maml_sinusoid.RATES
    assert set(record["export"]["differences"]) == {"serving_default", "adapt_and_predict"}
    points = np.linspace(-5, 5, 4, dtype="float32")[:, None]
    answers = served(version, "adapt_and_predict")(support=points, targets=np.sin(points), query=points[:3])
    assert answers["prediction"].shape == (3, 1)

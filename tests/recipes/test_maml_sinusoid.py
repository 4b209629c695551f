import json

import numpy as np

from recipes import maml_sinusoid
from tests.recipes.folders import folders


def test_a_short_run(tmp_path):
    from matplotlib.image import imread

    config = maml_sinusoid.Config(
        seeds=(0,),
        iterations=300,
        test_steps=2,
        test_tasks=100,
        **folders(tmp_path),
    )
    record = maml_sinusoid.main(config)
    written = json.loads((tmp_path / "results/maml_sinusoid/10.json").read_text())
    assert written["mean_squared_error"] == record["mean_squared_error"]
    for errors in record["mean_squared_error"].values():
        assert np.shape(errors) == (1, 3) and np.min(errors) > 0 and np.max(errors) < 10
        assert errors[0][2] < errors[0][0]
    assert record["fine_tuning_rates"][0] in maml_sinusoid.RATES
    assert set(record["export"]["differences"]) == {"serving_default", "adapt_and_predict"}
    (drawn,) = (tmp_path / "runs").iterdir()
    assert imread(drawn / "fits.png").shape[0] > 200

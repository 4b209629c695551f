import numpy as np
import pytest

import keras_transfer as kt

losses = pytest.mark.parametrize(
    "loss, purpose", [(kt.losses.coral, "estimate a covariance"), (kt.losses.mmd, "compare distributions")]
)


@losses
@pytest.mark.parametrize("source, target", [(1, 4), (4, 1)])
def test_one_row(loss, purpose, source, target):
    with pytest.raises(ValueError, match=f"batches of at least 2 rows to {purpose}; received 1"):
        loss(np.ones((source, 3), "float32"), np.ones((target, 3), "float32"))


@losses
@pytest.mark.parametrize(
    "source, target", [((4, 3), (4, 2)), ((4, 3, 2), (4, 3, 2)), ((4,), (4,)), ((4, 3), (4, 3, 1))]
)
def test_shapes(loss, purpose, source, target):
    with pytest.raises(ValueError) as error:
        loss(np.ones(source, "float32"), np.ones(target, "float32"))
    assert f"(rows, dim) with the same dim; received shapes {source} and {target}" in str(error.value)

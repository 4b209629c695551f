import numpy as np
import pytest

import keras_transfer as kt


def test_scores_by_hand():
    matrix = [[0.9, 0.5, 0.5], [0.8, 1.0, 0.4], [0.85, 0.7, 0.6]]
    found = kt.report.continual_scores(matrix, untrained=[0.5, 0.45, 0.5])
    assert found == pytest.approx(
        {
            "accuracy": (0.85 + 0.7 + 0.6) / 3,
            "plasticity": (0.9 + 1.0 + 0.6) / 3,
            "stability": (0.85 + 0.7) / 2,
            "backward_transfer": ((0.85 - 0.9) + (0.7 - 1.0)) / 2,
            "forgetting": ((0.9 - 0.85) + (1.0 - 0.7)) / 2,
            "forward_transfer": ((0.5 - 0.45) + (0.4 - 0.5)) / 2,
        }
    )


def test_forgetting_is_from_the_best_there_was():
    found = kt.report.continual_scores([[0.5, 0, 0], [0.9, 0.5, 0], [0.6, 0.5, 0.5]])
    assert found["forgetting"] == pytest.approx(0.15) and found["backward_transfer"] == pytest.approx(0.05)
    assert "forward_transfer" not in found
    assert kt.report.continual_scores([[0.7]]) == {"accuracy": 0.7, "plasticity": 0.7}


@pytest.mark.parametrize("matrix", [[0.5], np.zeros((2, 3)), [[np.nan]], np.zeros((0, 0))])
def test_what_is_no_matrix(matrix):
    with pytest.raises(ValueError, match="finite matrix"):
        kt.report.continual_scores(matrix)

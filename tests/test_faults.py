"""What is left of an export and of a recipe that were killed, or whose disk was full."""

import json
import os

import pytest


def run(run_python, folder, exports, recipes):
    return json.loads(run_python("-m", "tests.faults", folder, str(exports), str(recipes), KERAS_BACKEND="tensorflow"))


def test_what_is_left_of_an_export_is_whole(run_python, tmp_path):
    assert len(run(run_python, tmp_path, 10, 0)["export"]["killed"]) == 10


@pytest.mark.skipif("KERAS_TRANSFER_RESULTS" not in os.environ, reason="takes minutes: for results/faults.json alone")
def test_a_recipe_goes_on_as_if_it_had_not_been_killed(run_python, record, tmp_path):
    told = run(run_python, tmp_path, 10, 10)
    assert len(told["recipe"]["killed"]) == 10
    record("faults", told)

"""What is left of a recipe and of an export that were killed, or whose disk was full."""

import json
import os


def test_what_is_left_is_whole_and_goes_on(run_python, record, tmp_path):
    """`KERAS_TRANSFER_KILLS` random places, by default one for each of the two."""
    kills = os.environ.get("KERAS_TRANSFER_KILLS", "1")
    told = json.loads(run_python("-m", "tests.faults", str(tmp_path), kills, KERAS_BACKEND="tensorflow"))
    assert len(told["recipe"]["killed"]) == len(told["export"]["killed"]) == int(kills)
    record("faults", told)

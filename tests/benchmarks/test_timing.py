import json
import time

import numpy as np
import pytest

from benchmarks import timing


def test_arms_take_turns_forwards_and_backwards():
    calls = []

    def arm(name):
        calls.append(name)
        return len(calls)

    found = timing.turns({name: lambda name=name: arm(name) for name in "abc"}, 3)
    assert "".join(calls) == "abc" + "cba" + "abc" + "cba"
    assert found.first == {"a": 1, "b": 2, "c": 3}
    assert {name: len(seconds) for name, seconds in found.seconds.items()} == dict.fromkeys("abc", 3)
    assert len(found.load_average) == 2


def test_first_round_is_not_timed():
    pauses = iter([0.2, 0.05, 0.05])
    found = timing.turns({"a": lambda: time.sleep(next(pauses))}, 2)
    assert len(found.seconds["a"]) == 2 and min(found.seconds["a"]) >= 0.05
    assert next(pauses, None) is None


def test_ratios_are_of_the_same_round():
    values = {"ours": [2.0, 30.0, 5.0], "floor": [1.0, 10.0, 4.0]}
    found = timing.compared(values, "ours", "floor")
    assert found["ratios"] == [2.0, 3.0, 1.25] and found["ratio"] == 2.0
    assert found["quartiles"] == [1.625, 2.5]  # halfway between neighbours


def test_rates_and_medians():
    seconds = {"a": [0.5, 1.0, 4.0]}
    assert timing.per_second(seconds, 10) == {"a": [20.0, 10.0, 2.5]}
    assert timing.milliseconds(seconds, 10) == {"a": [50.0, 100.0, 400.0]}
    assert timing.medians(seconds) == {"a": 1.0}


def test_writes_what_it_prints(tmp_path, capsys):
    timing.write({"ratio": float(np.float32(0.5))}, tmp_path / "new" / "result.json")
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == json.loads(capsys.readouterr().out)
    with pytest.raises(TypeError):
        timing.write({"ratio": {1, 2}}, tmp_path / "bad.json")
    assert not (tmp_path / "bad.json").exists()

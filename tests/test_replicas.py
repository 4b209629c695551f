"""`tf.distribute`, in processes of its own."""

from tests.contract import ALIKE, METHODS


def test_replicas_equal_one(run_python):
    printed = run_python("-m", "tests.replicas", KERAS_BACKEND="tensorflow")
    for name, row in METHODS.items():
        assert row.draws or name in ALIKE or f"{name}: equal" in printed
    for check in (
        "stream: equal",
        "synchronized BatchNormalization: equal",
        "weightings: equal",
        "unbuilt: trains",
        "masks: train",
    ):
        assert check in printed


def test_workers_equal_one_process(run_python):
    assert "workers: equal" in run_python("-m", "tests.replicas", "workers", KERAS_BACKEND="tensorflow")

"""The contract on JAX, in a process of its own."""


def test_contract_on_jax(run_python):
    files = ["tests/test_contract.py", "tests/layers", "tests/losses", "tests/test_schedules.py"]
    printed = run_python("-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *files, KERAS_BACKEND="jax")
    assert "passed" in printed and "failed" not in printed

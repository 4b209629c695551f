"""The contract on JAX, in a process of its own."""


def test_contract_on_jax(run_python):
    files = ["tests/test_contract.py", "tests/layers", "tests/losses", "tests/test_schedules.py"]
    environment = {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiling takes most of the time
    printed = run_python("-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *files, **environment)
    assert "passed" in printed and "failed" not in printed

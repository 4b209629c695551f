"""The contract on JAX, in a process of its own."""


def test_contract_on_jax(run_python):
    """All of methods, layers and schedules; of losses their contract, their gradients and what NumPy says."""
    files = ["tests/test_contract.py", "tests/layers", "tests/losses", "tests/test_schedules.py"]
    files += ["-k", "not losses or contract or gradient or numpy"]
    # Compiling takes most of the time: less of it where XLA's older emitter writes the code of loops.
    environment = {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    printed = run_python("-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *files, **environment)
    assert "passed" in printed and "failed" not in printed

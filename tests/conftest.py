import ctypes
import gc
import json
import os
import pathlib
import subprocess
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = pathlib.Path(__file__).parent.parent


SLOWEST = (
    "tests/test_jax.py",
    "tests/test_replicas.py",
    "tests/test_faults.py",
    "tests/test_fuzz.py",
    "tests/serving/",
    "tests/recipes/",
    "tests/backbones/",
)


def pytest_collection_modifyitems(items):
    """Slow files first: workers take files in this order, and none is left with a long one at the end."""
    places = {path: place for place, path in enumerate(SLOWEST)}
    items.sort(key=lambda item: min((p for path, p in places.items() if item.nodeid.startswith(path)), default=99))


@pytest.hookimpl(trylast=True)  # behind the end of fixtures, which would be kept for good otherwise
def pytest_runtest_teardown(item, nextitem):
    """What a file leaves is not looked at by each later collection of garbage, which would take ever longer.

    What it has freed goes back to the system, to which glibc alone would leave gigabytes in pieces.
    """
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()
        if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
            ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def run_python():
    """Runs a module of the tests in a fresh process and returns what it prints."""

    def run(*arguments, **environment):
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-6000:]
        return process.stdout

    return run


@pytest.fixture
def data_folder():
    """The folder of KERAS_TRANSFER_DATA."""
    if "KERAS_TRANSFER_DATA" not in os.environ:
        pytest.skip("KERAS_TRANSFER_DATA is not set: it points to a folder with the public data sets")
    return pathlib.Path(os.environ["KERAS_TRANSFER_DATA"])


@pytest.fixture
def record():
    """Adds figures to `<name>.json` in the folder of KERAS_TRANSFER_RESULTS, where that is set."""

    def write(name, figures):
        if "KERAS_TRANSFER_RESULTS" in os.environ:
            file = pathlib.Path(os.environ["KERAS_TRANSFER_RESULTS"], f"{name}.json")
            known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            file.write_text(json.dumps({**known, **figures}, indent=2) + "\n", encoding="utf-8")

    return write

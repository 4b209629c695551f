"""Import time of keras_transfer against keras alone: `python -m benchmarks.import_time`.

Starts fresh processes in turn, `python -c "import keras"` and `python -c "import keras_transfer"` (the start of the
interpreter included in both), after one of each that warms the file cache. Prints, and writes
results/import_time.json; the ratio is that of the medians.
"""

import argparse
import functools
import subprocess
import sys
from pathlib import Path

from benchmarks import timing

ROOT = Path(__file__).resolve().parents[1]
MODULES = "keras", "keras_transfer"


def load(module):
    """Imports one module in a fresh process."""
    process = subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"Expected `import {module}` to work; received:\n{process.stderr}")


def main(rounds, output):
    """Measures, prints, writes."""
    found = timing.turns({module: functools.partial(load, module) for module in MODULES}, rounds)
    medians = timing.medians(found.seconds)
    result = {"ratio": medians["keras_transfer"] / medians["keras"], "median_seconds": medians}
    timing.write({**result, "seconds": found.seconds, "load_average": found.load_average}, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="processes per module (default: 10)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "import_time.json", help="where to write")
    main(**vars(parser.parse_args()))

"""Import time of keras_transfer against keras alone: `python -m benchmarks.import_time`.

Starts fresh processes in turn, `python -c "import keras"` and `python -c "import keras_transfer"` (the start of the
interpreter included in both), after one of each that warms the file cache. Prints both medians, their ratio and the
machine's load average, and writes results/import_time.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras_transfer as kt

ROOT = Path(__file__).resolve().parents[1]
MODULES = "keras", "keras_transfer"


def seconds(module):
    """Wall-clock time of a fresh process that imports one module."""
    start = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, capture_output=True, text=True)
    elapsed = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"Expected `import {module}` to work; received:\n{process.stderr}")
    return elapsed


def main(rounds, output):
    """Measures, prints and writes; returns what it wrote."""
    for module in MODULES:
        seconds(module)
    load = os.getloadavg()[0]
    times = {module: [] for module in MODULES}
    for number in range(rounds):
        for module in MODULES[:: 1 if number % 2 == 0 else -1]:
            times[module].append(seconds(module))
    medians = {module: statistics.median(values) for module, values in times.items()}
    ratio = medians["keras_transfer"] / medians["keras"]
    result = {"ratio": ratio, "median_seconds": medians, "seconds": times, "load_average": [load, os.getloadavg()[0]]}
    print(f"median of {rounds} fresh processes each, in turn:")
    for module, value in medians.items():
        print(f"  import {module:<15} {value:6.2f} s")
    print("ratio {:.3f}; load average (1 minute) before {:.2f}, after {:.2f}".format(ratio, *result["load_average"]))
    output.parent.mkdir(parents=True, exist_ok=True)
    kt.report.write_whole(output, (json.dumps(result, indent=2) + "\n").encode())
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="processes per module (default: 10)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "import_time.json", help="where to write")
    main(**vars(parser.parse_args()))

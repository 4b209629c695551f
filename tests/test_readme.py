import ast
import json
import pathlib
import re
import statistics

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = {"dann": "DANN", "deep_coral": "Deep CORAL", "dan": "DAN"}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def assert_shown(*lines):
    """The README says each of these, however its lines break."""
    text = " ".join(README.split())
    for line in lines:
        assert line in text


def interval(gain):
    """A gain in points with its interval."""
    return f"{100 * gain['mean']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"


def rows(path):
    """The table's rows for one results file, computed from the runs as they were measured."""
    report = json.loads(path.read_text())

    def shown(arm):
        return f"{100 * report['means'][arm]['target_accuracy']:.1f} ± {percent(report, arm)}"

    def percent(report, arm):
        return f"{100 * report['deviations'][arm]['target_accuracy']:.1f}"

    for method, gain in report["gains"].items():
        cells = (path.stem, NAMES[method], shown(report["baseline"]), shown(method), interval(gain), gain["verdict"])
        yield f"| {' | '.join(cells)} |"


def finetuning_rows(path):
    """As `rows`, with what each strategy costs; the first row is the baseline."""
    report = json.loads(path.read_text())
    for arm in (report["baseline"], *report["gains"]):
        mean, deviation = report["means"][arm], report["deviations"][arm]
        gain, verdict = "", "baseline"
        if arm in report["gains"]:
            gain, verdict = interval(report["gains"][arm]), report["gains"][arm]["verdict"]
        accuracy = f"{100 * mean['accuracy']:.1f} ± {100 * deviation['accuracy']:.1f}"
        costs = f"{mean['trained_parameters']:,.0f}", f"{mean['seconds']:.0f}", f"{mean['file_megabytes']:.2f}"
        yield f"| {' | '.join((path.stem, arm, accuracy, gain, verdict, *costs))} |"


def few_shot_rows(path):
    """Accuracies by size of episode: mean ± standard deviation of trainings; of a single one ± its interval."""
    record = json.loads(path.read_text())
    for arm, runs in record["tests"].items():
        cells = []
        for reports in zip(*(run["reports"] for run in runs)):
            accuracies = [100 * report["accuracy"] for report in reports]
            spread = statistics.stdev(accuracies) if len(reports) > 1 else 100 * reports[0]["margin"]
            cells.append(f"{statistics.mean(accuracies):.1f} ± {spread:.1f}")
        yield f"| {' | '.join((path.stem, arm, *cells, str(len(runs))))} |"


def sinusoid_rows(path):
    """Errors after some numbers of steps, the median and the range of seeds, and the longest training."""
    record = json.loads(path.read_text())
    for arm, curves in record["mean_squared_error"].items():
        cells = []
        for steps in (0, 1, 2, 5, 10):
            errors = sorted(float("inf") if curve[steps] is None else curve[steps] for curve in curves)
            cells.append(f"{statistics.median(errors):.3f} [{errors[0]:.3f}, {errors[-1]:.3f}]")
        seconds = f"{max(record['seconds'][arm]):.0f}"
        yield f"| {' | '.join((path.stem, arm, *cells, seconds))} |"


def pretraining_rows(path):
    """Probes with all labels, then what few labels are worth; mean ± standard deviation of seeds."""
    record = json.loads(path.read_text())

    def shown(values):
        return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"

    median = f"{statistics.median(record['seconds'].values()) / 60:.0f}"
    for encoder, runs in record["all_labels"].items():
        cells = [shown([run[name] for run in runs.values()]) for name in ("linear_accuracy", "knn_accuracy")]
        minutes = median if encoder == record["config"]["method"] else ""
        yield f"| {' | '.join((path.stem, encoder, *cells, minutes))} |"
    for labels, arms in record["few_labels"].items():
        report = record["reports"].get(labels)
        for arm, runs in arms.items() if report else ():
            gain, verdict = "", ""
            if arm in report["gains"]:
                gain, verdict = interval(report["gains"][arm]), report["gains"][arm]["verdict"]
                verdict += ", chosen" * (arm == report["extra"]["chosen"])
            elif arm == report["baseline"]:
                verdict = "baseline"
            cells = path.stem, labels, arm, shown([run["test"] for run in runs.values()]), gain, verdict
            yield f"| {' | '.join(cells)} |"


def task_rows(path):
    """Each task alone and in the shared model, and what the latter takes of all single-task models together."""
    record = json.loads(path.read_text())
    seconds = {arm: sum(by_seed.values()) for arm, by_seed in record["seconds"].items()}
    shares = [
        of["shared"] / sum(v for arm, v in of.items() if arm != "shared") for of in (record["parameters"], seconds)
    ]
    for task, report in record["reports"].items():
        cells = [
            f"{100 * report['means'][arm]['accuracy']:.1f} ± {100 * report['deviations'][arm]['accuracy']:.1f}"
            for arm in ("single", "shared")
        ]
        gain = report["gains"]["shared"]
        cells += [interval(gain), gain["verdict"], *(f"{share:.0%}" for share in shares)]
        yield f"| {' | '.join((path.stem, task, *cells))} |"


def balance_rows(path):
    """Two tasks by each weighting, their mean change against single-task models, the gain over equal weights."""
    record = json.loads(path.read_text())
    for arm, runs in record["tests"].items():
        cells = []
        for task in [name for name in record["tests"]["equal"]["0"] if name != "change"]:
            values = [run[task] for run in runs.values() if task in run]
            scale, digits = (1, 4) if task == "image" else (100, 1)
            cells.append(f"{scale * statistics.mean(values):.{digits}f}" if values else "")
        changes = [run["change"] for run in runs.values() if "change" in run]
        cells.append(f"{statistics.mean(changes):+.1f} ± {statistics.stdev(changes):.1f}" if changes else "")
        gain = record["report"]["gains"].get(arm)
        cells += (
            [f"{gain['mean']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]", gain["verdict"]] if gain else ["", ""]
        )
        yield f"| {' | '.join((path.stem, arm, *cells))} |"


RESULTS = sorted(p for p in (ROOT / "results/adapt_digits").glob("*.json") if p.stem != "selection")
FINETUNING = sorted(p for p in (ROOT / "results/finetune_photos").glob("*.json") if p.stem != "selection")

FEW_SHOT = sorted((ROOT / "results").glob("learn_episodes/*.json"))
ADAPTED = sorted((ROOT / "results").glob("learn_to_adapt/*.json"))
SINUSOID = sorted((ROOT / "results").glob("maml_sinusoid/*.json"))
PRETRAINED = sorted((ROOT / "results").glob("pretrain_views/*.json"))
TASKS = sorted((ROOT / "results").glob("train_tasks/*.json"))
BALANCED = sorted((ROOT / "results").glob("balance_tasks/*.json"))
ROWS = {
    **dict.fromkeys(RESULTS, rows),
    **dict.fromkeys(FINETUNING, finetuning_rows),
    **dict.fromkeys(FEW_SHOT + ADAPTED, few_shot_rows),
    **dict.fromkeys(SINUSOID, sinusoid_rows),
    **dict.fromkeys(PRETRAINED, pretraining_rows),
    **dict.fromkeys(TASKS, task_rows),
    **dict.fromkeys(BALANCED, balance_rows),
}


def test_results_are_there():
    assert {p.stem for p in RESULTS} >= {"printed_handwritten", "digits_photos"}
    assert {p.stem for p in FINETUNING} >= {"art_painting_hub_10", "art_painting_hub_2", "glyphs_small_cnn_10"}
    assert {p.stem for p in FEW_SHOT} >= {"glyphs_1", "omniglot_1", "pacs_5"}
    assert {p.stem for p in ADAPTED} >= {"omniglot_maml", "omniglot_fomaml", "omniglot_reptile"}
    assert {p.stem for p in SINUSOID} == {"10"}
    methods = ("simclr", "byol", "barlow_twins", "vicreg", "mae")
    assert {p.stem for p in PRETRAINED} >= {f"fashion_mnist_{method}" for method in methods}
    assert {p.stem for p in TASKS} >= {"glyphs_shared_encoder_equal", "multi_fashion_shared_encoder_equal"}
    assert {p.stem for p in BALANCED} == {"plain", "scaled", "reconstruction"}


@pytest.mark.parametrize("path", ROWS, ids=lambda p: p.stem)
def test_table_shows_what_was_measured(path):
    table = README.split(f"<!-- table: {path.parent.name} -->")[1].split("<!-- end -->")[0]
    expected = list(ROWS[path](path))
    assert [line for line in table.splitlines() if line.startswith(f"| {path.stem} |")] == expected


def test_costs_of_fine_tuning_are_as_measured():
    measured = json.loads((ROOT / "results/finetuning.json").read_text())
    cached, lora, mixed = (measured[name] for name in ("cached_features", "lora", "mixed_precision"))
    bfloat16, float16 = (mixed[f"mixed_{name}"]["ratio"] for name in ("bfloat16", "float16"))
    lines = (
        f"an epoch of training a head is {cached['ratio']:.0f} times as fast as through the backbone",
        f"takes {cached['extraction_seconds']:.1f} s for {cached['images']:,} images",
        f"{lora['adapter_share']:.1%} of the parameters, a file of {lora['adapter_file_megabytes']:.2f} MB",
        f"merged and exported it takes {lora['latency']['ratio']:.3f} times the time of the plain model",
        f"in mixed_bfloat16 takes {bfloat16:.2f} times the time of float32, in mixed_float16 {float16:.2f} times",
    )
    assert_shown(*lines)


def test_speed_of_maml_is_as_measured():
    measured = json.loads((ROOT / "results/maml.json").read_text())
    for network in ("pooled", "strided"):
        parts = []
        for order in ("second", "first"):
            found = measured[f"{network}, {order} order"]
            parts.append(f"{found['tasks_per_second']['MAML']:.0f} tasks a second in {order} order")
            parts.append(f"{found['ratio']:.2f} times the fastest step by hand")
        assert_shown(", ".join(parts))


def test_hidden_patches_are_as_measured():
    runs = json.loads((ROOT / "results/pretrain_views/fashion_mnist_mae.json").read_text())["hidden_patches"].values()
    errors, means = ([run[name] for run in runs] for name in ("error", "patch_mean"))
    error, mean = statistics.mean(errors), statistics.mean(means)
    line = f"is {error:.4f} ± {statistics.stdev(errors):.4f}, {1 - error / mean:.0%} below the {mean:.4f}"
    assert_shown(line)


def test_costs_of_pretraining_are_as_measured():
    measured = json.loads((ROOT / "results/pretraining.json").read_text())
    chunks, whole = (measured["chunks"]["ratio_to_256"][name] for name in ("4096 in chunks of 256", "4096 whole"))
    rate = measured["views"]["images_per_second"]["kt.streams.views"]
    distance = max(measured["gradients"]["float32"].values())
    minutes = statistics.median(measured["step"]["milliseconds"]["fit"]) * (60_000 // 256) * 40 / 60_000
    lines = (
        f"takes {measured['step']['ratio']:.2f} times the time of a loop by hand",
        f"the steps of 40 epochs of Fashion-MNIST take {minutes:.0f} minutes",
        f"makes two views of {rate:,.0f} images a second",
        f"needs {chunks['peak']:.2f} times the memory of a batch of 256 (whole, {whole['peak']:.2f} times)",
        f"{chunks['milliseconds_per_image']:.2f} times the time for an image",
        f"is that of the whole batch within {distance:.0e} of its length",
    )
    assert_shown(*lines)


def test_minutes_of_training_are_as_measured():
    minutes = {
        path.stem.removeprefix("omniglot_"): test["seconds"] / 60
        for path in ADAPTED
        for tests in json.loads(path.read_text())["tests"].values()
        for test in tests
    }
    line = f"`maml` took {minutes['maml']:.0f} minutes, `fomaml` {minutes['fomaml']:.0f} and `reptile` "
    assert_shown(line + f"{minutes['reptile']:.0f}")


def test_step_times_of_tasks_are_as_measured():
    ratio = json.loads((ROOT / "results/tasks.json").read_text())["ratio"]
    weights = [ratio[name] for name in ("MGDA", "PCGrad", "CAGrad")]
    features = max(value for name, value in ratio.items() if name.endswith("on the representation"))
    assert_shown(
        f"takes {min(weights):.2f} to {max(weights):.2f} times that of equal weighting",
        f"at most {features:.2f} times on the representation",
    )


def test_setup_commands_use_extras_that_exist():
    setup = (ROOT / "setup.cfg").read_text()
    commands = [line for block in blocks("bash") for line in block.splitlines() if "pip install" in line]
    assert len(commands) == 2
    for command in commands:
        (extra,) = re.findall(r"\.\[(\w+)\]", command)
        assert f"\n{extra} =" in setup
    assert (ROOT / "recipes/adapt_digits.py").is_file()


def test_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    assert len(ast.parse(example).body) <= 20
    example = example.replace("epochs=5", "epochs=1").replace("printed_digits(8000)", "printed_digits(640)")
    scope = {}
    exec(compile(example, "README", "exec"), scope)
    assert scope["version"] == pathlib.Path("saved_models/digits/1")


def test_ci_runs_the_test_command_of_the_readme():
    assert "README.md" in (ROOT / ".ci/run").read_text()
    assert "pip install -e '.[test]' && pytest" in README

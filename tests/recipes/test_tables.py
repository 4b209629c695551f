import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import keras_transfer as kt
from keras_transfer.recipes import tables
from keras_transfer.recipes.tables import __main__ as command
from keras_transfer.recipes.tables import figures, gains, parts, picture, rows

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def generated():
    return tables.generate(RESULTS)


@pytest.fixture
def copy(tmp_path):
    """A copy of the pages beside the results."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    os.symlink(RESULTS, tmp_path / "results")
    return tmp_path


def write(folder, case, record):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case}.json").write_text(json.dumps(record), encoding="utf-8")


def test_pages_and_picture_are_what_the_results_say():
    assert [str(path.relative_to(ROOT)) for path in tables.outdated(ROOT)] == []


def test_every_result_has_a_row(generated):
    folders = {path.name for path in RESULTS.iterdir() if path.is_dir()}
    assert folders == set(rows.TABLES) - {"commands", "adapted_epochs"}  # a single file, and of two folders
    for folder in folders:
        cases = {path.stem for path in (RESULTS / folder).glob("*.json")} - {"selection"}
        shown = {line.split(" | ")[0].removeprefix("| ") for line in generated["table"][folder].splitlines()}
        assert cases and cases <= shown


def test_every_table_stands_in_one_page():
    text = "\n".join(page.read_text(encoding="utf-8") for page in tables.pages(ROOT))
    for name in (*rows.TABLES, "parts"):
        assert text.count(f"<!-- table: {name} -->") == 1


def test_command_names_what_differs_and_writes_it(copy, capsys):
    command.main(command.Config(), copy)
    capsys.readouterr()
    page = copy / "docs/adaptation.md"
    whole = page.read_text(encoding="utf-8")
    wrong = whole.replace("| +", "| +9", 1)
    assert wrong != whole
    page.write_text(wrong, encoding="utf-8")
    (copy / tables.PICTURE).unlink()
    assert command.main(command.Config(check=True), copy) == 1
    assert capsys.readouterr().out.split() == ["docs/adaptation.md", tables.PICTURE]
    assert page.read_text(encoding="utf-8") == wrong
    assert command.main(command.Config(), copy) == 0
    assert page.read_text(encoding="utf-8") == whole
    assert command.main(command.Config(check=True), copy) == 0


def test_render_replaces_what_stands_between_the_marks():
    made = {"table": {"t": "\n| a |\n|---|\n"}, "figure": {"f.x": "2"}}
    text = (
        "<!-- table: t -->\nold\n<!-- end -->\n\n"
        "Is <!-- figure: f.x -->1<!-- end --> and <!-- figure: f.x --><!-- end -->."
    )
    expected = (
        "<!-- table: t -->\n| a |\n|---|\n<!-- end -->\n\n"
        "Is <!-- figure: f.x -->2<!-- end --> and <!-- figure: f.x -->2<!-- end -->."
    )
    assert tables.render(text, made) == expected
    assert tables.render(expected, made) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("a <!-- figure: g -->1<!-- end -->", "received 'g'"),
        ("a <!-- table: f -->1<!-- end -->", "received 'f'"),
        ("a <!-- figure: f -->1", "Expected marks as"),
        ("a 1<!-- end -->", "Expected marks as"),
        ("a\n<!-- figure: f -->1<!-- end -->", "begins a line"),
    ],
)
def test_render_refuses_marks_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        tables.render(text, {"table": {}, "figure": {"f": "2"}})


@pytest.mark.parametrize("recipe, metric", [("adapt_digits", "target_accuracy"), ("finetune_strategies", "accuracy")])
def test_gains_follow_from_the_runs(recipe, metric, generated):
    """Each interval again from the scores of the seeds, by SciPy's one-sample t interval on their differences."""
    checked = 0
    for case, report in rows.records(RESULTS / recipe):
        scores = {arm: [by_seed[seed][metric] for seed in sorted(by_seed)] for arm, by_seed in report["runs"].items()}
        lines = [line for line in generated["table"][recipe].splitlines() if line.startswith(f"| {case} |")]
        for arm in report["gains"]:
            points = 100 * np.subtract(scores[arm], scores[report["baseline"]])
            low, high = stats.t.interval(0.95, len(points) - 1, points.mean(), stats.sem(points))
            name = rows.METHODS.get(arm, arm)
            (line,) = [line for line in lines if line.startswith(f"| {case} | {name} |")]
            assert f"| {points.mean():+.1f} [{low:+.1f}, {high:+.1f}] |" in line
            assert f"| {100 * np.mean(scores[arm]):.1f} ± {100 * np.std(scores[arm], ddof=1):.1f} |" in line
            checked += 1
    assert checked >= 8


def test_episodes_show_trainings_or_the_interval_of_one(tmp_path):
    def reports(*accuracies):
        of = ((5, 1), (20, 1))
        return [
            {"accuracy": accuracy, "margin": 0.005, "protocol": {"ways": ways, "shots": shots}}
            for accuracy, (ways, shots) in zip(accuracies, of)
        ]

    two = [{"reports": reports(0.5, 0.25)}, {"reports": reports(0.7, 0.35)}]
    write(tmp_path / "learn_episodes", "letters_1", {"tests": {"two": two, "one": [{"reports": reports(0.9, 0.8)}]}})
    # Of 50 and 70 the standard deviation is 20 / sqrt(2) = 14.1, of 25 and 35 it is 7.1.
    assert list(rows.learn_episodes(tmp_path)) == [
        "| data | method | 5-way 1-shot | 20-way 1-shot | trainings |",
        "|---|---|---|---|---|",
        "| letters_1 | two | 60.0 ± 14.1 | 30.0 ± 7.1 | 2 |",
        "| letters_1 | one | 90.0 ± 0.5 | 80.0 ± 0.5 | 1 |",
    ]


def test_sinusoids_show_median_and_range_and_what_diverged(tmp_path):
    curves = [[1.0] * 10 + [end] for end in (3.0, None, 0.5)]
    record = {"mean_squared_error": {"maml": curves}, "seconds": {"maml": [1.0, 9.4, 2.0]}}
    write(tmp_path / "maml_sinusoid", "10", record)
    ones = "1.000 [1.000, 1.000]"
    assert list(rows.maml_sinusoid(tmp_path))[2] == (
        f"| 10 | maml | {ones} | {ones} | {ones} | {ones} | 3.000 [0.500, inf] | 9 |"
    )


def test_records_keep_the_order_asked_for_and_lose_none(tmp_path):
    for case in ("a", "b", "c", "selection"):
        write(tmp_path, case, {"of": case})
    assert [case for case, _ in rows.records(tmp_path, "c")] == ["c", "a", "b"]


def test_best_is_the_gain_whose_interval_begins_highest():
    wide = gains.Measured("adaptation", "usps_mnist", "dann", 20.0, 3.0, 37.0, "gain")
    narrow = gains.Measured("adaptation", "mnist_usps", "dan", 18.0, 16.5, 19.5, "gain")
    assert gains.best([wide, narrow]) is narrow
    assert str(narrow) == "MNIST to USPS, DAN: +18.0 [+16.5, +19.5]"


def test_best_of_cases_has_every_case_once():
    found = gains.best_of_cases(RESULTS)
    everything = list(gains.measured(RESULTS))
    assert {gain.family for gain in found} == set(gains.FAMILIES)
    assert {gain.case for gain in found} == {gain.case for gain in everything}
    names = [gain.name for gain in found]
    assert len(names) == len(set(names))
    for gain in found:
        rivals = [other for other in everything if (other.family, other.case) == (gain.family, gain.case)]
        rivals = [] if gain.family == "multitask" else rivals
        assert all(other.low <= gain.low for other in rivals)


def test_sinusoids_compare_seed_by_seed(tmp_path):
    errors = {"maml": [[2.0, 0.1], [2.0, 0.3], [2.0, 0.2]], "pretrained": [[2.0, 1.1], [2.0, 1.3], [2.0, 1.2]]}
    write(tmp_path / "maml_sinusoid", "10", {"mean_squared_error": errors})
    medians, gain = gains.sinusoids(tmp_path, steps=1)
    assert medians == {"maml": [2.0, 0.2], "pretrained": [2.0, 1.2]}
    np.testing.assert_allclose(gain[:3], (1.0, 1.0, 1.0))  # each seed gains 1: no spread


@pytest.mark.parametrize(
    "low, high, metric, margin, expected",
    [
        (-0.02, 0.005, "accuracy", {}, "inconclusive"),
        (-0.009, 0.01, "target_accuracy", {}, "no difference"),
        (-0.9, 0.7, "change", {}, "no difference"),
        (-0.9, 1.6, "change", {}, "inconclusive"),
        (-0.9, 0.7, "reward", {}, "inconclusive"),
        (-0.02, 0.005, "accuracy", {"margin": 0.02}, "no difference"),
        (-0.9, 0.7, "change", {"margin": None}, "inconclusive"),
        (0.001, 0.005, "accuracy", {}, "gain"),
        (-0.9, -0.7, "change", {}, "negative transfer"),
    ],
)
def test_verdicts_follow_from_the_intervals(low, high, metric, margin, expected):
    """Whatever word the record keeps: those of before knew three."""
    gain = {"mean": (low + high) / 2, "low": low, "high": high, "verdict": "no difference"}
    report = {"metric": metric, "gains": {"ours": gain}, **margin}
    assert rows.verdict(report, "ours") == expected
    (measured,) = gains._gains(report, "adaptation", "usps_mnist")
    assert measured.verdict == expected and expected in picture.COLORS


def test_tables_say_what_their_intervals_say(generated):
    """The words of all tables again from the printed numbers, where rounding does not decide."""
    found = set()
    for line in "".join(generated["table"].values()).splitlines():
        cells = [re.sub(", (chosen|exported)$", "", cell.strip()) for cell in line.split("|")]
        for text, said in zip(cells, cells[1:]):
            if match := re.fullmatch(r"[+-][\d.]+ \[([+-][\d.]+), ([+-][\d.]+)\]", text):
                low, high = map(float, match.groups())
                if min(abs(low), abs(high), abs(abs(low) - 1), abs(abs(high) - 1)) > 0.05:
                    holds = "no difference" if max(-low, high) < 1 else "inconclusive"
                    assert said == ("gain" if low > 0 else "negative transfer" if high < 0 else holds), line
                    found.add(said)
    assert found == set(picture.COLORS)


def test_figures_refuse_records_that_disagree(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    path = tmp_path / "results/train_tasks/glyphs_shared_encoder_equal.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["config"]["seeds"] = [0]
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match=r"received \[1, 5\]"):
        figures.figures(tmp_path / "results")


def test_picture_knows_of_which_results_it_is(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    file = tmp_path / "gains.png"
    assert not picture.shows(file, RESULTS)
    file.write_bytes(picture.png(RESULTS))
    assert picture.shows(file, RESULTS) and picture.shows(file, tmp_path / "results")
    with Image.open(file) as image:
        assert image.size == (1150, 620)  # 11.5 x 6.2 inches of 100 dots
    path = tmp_path / "results/adapt_digits/usps_mnist.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    for gain in report["gains"].values():
        gain["mean"] += 0.01
    path.write_text(json.dumps(report), encoding="utf-8")
    assert not picture.shows(file, tmp_path / "results")


def test_parts_name_every_public_part(generated):
    shown = generated["table"]["parts"]
    for room in ("models", "losses", "layers", "weightings", "streams"):
        for name in getattr(kt, room).__all__:
            assert f"| `kt.{room}.{name}` | " in shown or f"`{name}`" in shown
    assert "| `kt.TransferModel` | " in shown and "| `kt.export` | " in shown


def test_parts_need_docstrings():
    def silent():
        pass

    with pytest.raises(ValueError, match="silent .* has none"):
        parts.summary(silent)
    silent.__doc__ = "Returns a | b,\nor c.\n\nMore."
    assert parts.summary(silent) == r"Returns a \| b, or c."


def test_choosing_is_correlated_within_each_data_set(tmp_path):
    """Two data sets in which the scores rank the backbones right, although the easier one has the lower scores."""
    for case, shift, behind in (("a", 0.0, 0.02), ("b", 5.0, 0.01)):
        means = {
            name: {"log_me": rank + shift, "h_score": -rank, "fine_tuned": 0.125 * rank + (0.0 if shift else 0.5)}
            for rank, name in enumerate(("x", "y", "z"))
        }
        spearman = {"log_me": {"fine_tuned": 1.0}, "h_score": {"fine_tuned": -1.0}}
        config = {"labels_per_class": 10, "splits": [0, 1]}
        record = {
            "means": means,
            "spearman": spearman,
            "regret": behind,
            "regret_by_draw": 2 * behind,
            "config": config,
        }
        write(tmp_path / "choose_backbones", case, record)
    found = dict(figures._choosing(tmp_path))
    assert found["choose.log_me"] == found["choose.log_me.pooled"] == "1.00"
    assert found["choose.h_score.pooled"] == "-1.00" and (found["choose.behind"], found["choose.behind.by_draw"]) == (
        "1.5",
        "3.0",
    )
    assert found["choose.data"] == "2" and found["choose.pairs"] == "6" and found["choose.draws"] == "2"

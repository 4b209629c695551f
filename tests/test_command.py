"""The command `keras-transfer`: its verbs are recipes, and what they say."""

import ast
import configparser
import dataclasses
import importlib
import inspect
import pathlib

import pytest
import tyro

from keras_transfer import __main__ as command
from keras_transfer.recipes import runs

ROOT = pathlib.Path(__file__).parent.parent
RECIPES = {
    verb: importlib.import_module(f"keras_transfer.recipes.{recipe}") for verb, (recipe, _) in command.VERBS.items()
}


def test_the_script_is_the_command():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["options.entry_points"]["console_scripts"].strip() == "keras-transfer = keras_transfer.__main__:main"


@pytest.mark.parametrize("arguments", [[], ["--help"]], ids=["nothing", "help"])
def test_usage_lists_the_verbs(arguments, capsys):
    command.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert [verb for verb in command.VERBS if not any(line.startswith(f"  {verb} ") for line in lines)] == []
    assert max(map(len, lines)) <= 120


def test_another_verb_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["finetune"])
    assert ended.value.code == 2
    assert "received 'finetune'" in capsys.readouterr().err


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setitem(command.PACKAGES, "no_such_module", "no-such-package")
    with pytest.raises(SystemExit) as ended:
        command.main(["zoo"])
    assert ended.value.code == 1
    assert "no-such-package: pip install 'keras_transfer[recipes]'" in capsys.readouterr().err


def test_refused_input_is_told_without_a_traceback(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["fine-tune", "--images", str(tmp_path / "none"), "--runs", str(tmp_path)])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "Expected --images" in told and "Traceback" not in told


@pytest.mark.parametrize("verb", RECIPES)
def test_help_teaches_every_option(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([verb, "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"usage: keras-transfer {verb}" in text
    assert RECIPES[verb].__doc__.split("\n")[0][:40] in text
    for name, about in options(RECIPES[verb].Config).items():
        assert f"--{name.replace('_', '-')}" in text
        assert about, f"{name} has no help text"


def options(config):
    """`{name: help text}` of the options of a dataclass, those of dataclasses inside it among them."""
    bodies = [ast.parse(inspect.getsource(part)).body[0].body for part in config.__mro__[:-1]]
    texts = {
        field.target.id: text.value.value
        for body in bodies
        for field, text in zip(body, body[1:])
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    found = {}
    for field in dataclasses.fields(config):
        inner = dataclasses.is_dataclass(field.default)
        found |= options(type(field.default)) if inner else {field.name: texts.get(field.name)}
    return found


@pytest.mark.parametrize("verb", RECIPES)
def test_defaults_are_settings_that_pass(verb):
    config = tyro.cli(RECIPES[verb].Config, args=[], config=(tyro.conf.OmitArgPrefixes,))
    assert config == RECIPES[verb].Config()
    runs.check(config)

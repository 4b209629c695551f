"""What a release needs: a licence, a changelog, a version said once, and dependencies that are bounded."""

import configparser
import pathlib
import re

import keras
from packaging.requirements import Requirement
from packaging.version import Version

import keras_transfer as kt

ROOT = pathlib.Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def requirements():
    """What the package requires by itself, by name."""
    lines = SETUP["options"]["install_requires"].split("\n")
    return {requirement.name: requirement.specifier for requirement in map(Requirement, filter(None, lines))}


def test_keras_is_bounded_below_the_next_minor_version():
    installed = Version(keras.__version__)
    keras_versions = requirements()["keras"]
    assert installed in keras_versions
    assert Version(f"{installed.major}.{installed.minor}.999") in keras_versions
    assert Version(f"{installed.major}.{installed.minor + 1}.0") not in keras_versions


def test_version_is_said_once():
    assert SETUP["metadata"]["version"] == "attr: keras_transfer.__version__"
    source = (ROOT / "keras_transfer/__init__.py").read_text(encoding="utf-8")
    assert re.findall(r'^__version__ = "(.*)"$', source, flags=re.M) == [kt.__version__]  # a literal, read unimported


def test_changelog_begins_with_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(\S+)\] - (?:\d{4}-\d\d-\d\d|unreleased)$", changelog, flags=re.M)
    assert versions[0] == kt.__version__ == str(max(map(Version, versions)))


def test_changelog_names_every_model():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [name for name in kt.models.__all__ if f"`{name}`" not in changelog] == []


def test_licence_is_apache_2():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert licence.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in licence
    assert SETUP["metadata"]["license_expression"] == "Apache-2.0"
    assert SETUP["metadata"]["license_files"] == "LICENSE"

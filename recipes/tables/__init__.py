"""Writes what was measured into README and docs/: tables, numbers in the prose, and the picture, all from `results/`.

A page marks where something belongs, in comments that a reader does not see:

    <!-- table: adapt_digits -->       the lines of a table of `rows.py`, of `parts.py` or of `zoo.py`
    <!-- end -->
    `kt.streams.views` makes two views of <!-- figure: pretraining.views -->27,003<!-- end --> images a second.

What stands between the marks is written by `python -m keras_transfer.recipes.tables`, never by hand.
"""

import re

from keras_transfer.recipes.tables import figures, parts, picture, rows, zoo

MARK = re.compile(r"<!-- (table|figure): ([\w.]+) -->(.*?)<!-- end -->", flags=re.DOTALL)
PICTURE = "docs/pictures/gains.png"


def generate(results):
    """Returns everything that a mark may name, as text: `{"table": {name: text}, "figure": {name: text}}`.

    Args:
        results: pathlib.Path of the folder of results.
    """
    tables = {name: table(results) for name, table in rows.TABLES.items()}
    tables |= {"parts": parts.parts(), "zoo": zoo.zoo(results)}
    return {
        "table": {name: "\n" + "".join(f"{line}\n" for line in lines) for name, lines in tables.items()},
        "figure": figures.figures(results),
    }


def render(text, generated):
    """Returns the text of a page with everything between its marks as `generated` has it.

    Args:
        text: str, a page.
        generated: what `generate` returned.

    Raises:
        ValueError: if a mark names what is not generated, has no end, or begins a line of prose, which Markdown would
            then not read as prose.
    """

    def written(mark):
        kind, name, _ = mark.groups()
        if name not in generated[kind]:
            raise ValueError(f"Expected a {kind} of {sorted(generated[kind])}; received {name!r}.")
        return f"<!-- {kind}: {name} -->{generated[kind][name]}<!-- end -->"

    rendered = MARK.sub(written, text)
    bare = MARK.sub("", rendered)
    if "<!-- table" in bare or "<!-- figure" in bare or "<!-- end" in bare:
        raise ValueError(f"Expected marks as `<!-- figure: name -->...<!-- end -->`; received, among others, {bare!r}.")
    if re.search(r"^ *<!-- figure", rendered, flags=re.MULTILINE):
        raise ValueError("Expected marks of figures within a line; received one that begins a line.")
    return rendered


def pages(root):
    """Returns the paths of the pages: the README and docs/.

    Args:
        root: pathlib.Path of the repository.
    """
    return [root / "README.md", *sorted(root.glob("docs/**/*.md"))]


def outdated(root):
    """Returns what `results/` no longer agrees with, as a dict of paths to the text or bytes that belong there.

    Args:
        root: pathlib.Path of the repository.
    """
    generated, found = generate(root / "results"), {}
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        rendered = render(text, generated)
        if rendered != text:
            found[page] = rendered.encode()
    if not picture.shows(root / PICTURE, root / "results"):
        found[root / PICTURE] = picture.png(root / "results")
    return found

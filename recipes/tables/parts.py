"""The table of parts: every public name of the package with the first paragraph of its docstring."""

import inspect
import types

import keras_transfer as kt


def parts():
    """Yields the lines of one table for each room of the package, under a heading."""
    rooms = [name for name in sorted(kt.__all__) if isinstance(getattr(kt, name), types.ModuleType)]
    yield from _table(kt, "kt", [name for name in kt.__all__ if name not in rooms])
    for room in rooms:
        module = getattr(kt, room)
        yield ""
        yield f"## kt.{room}"
        yield ""
        yield summary(module)
        yield ""
        yield from _table(module, f"kt.{room}", public(module))


def public(module):
    """Returns what a module says is public; where it says nothing, what it defines itself."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(getattr(module, "__all__", [name for name in own if not name.startswith("_")]), key=str.lower)


def _table(module, path, names):
    kinds = type | types.FunctionType | types.ModuleType
    described = [name for name in names if isinstance(getattr(module, name), kinds)]
    yield "| part | what |"
    yield "|---|---|"
    for name in described:
        yield f"| `{path}.{name}` | {summary(getattr(module, name))} |"
    constants = [f"`{name}`" for name in names if name not in described]
    if constants:
        yield ""
        yield f"Constants: {', '.join(constants)}."


def summary(part):
    """Returns the first paragraph of a docstring on one line."""
    text = " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())
    if not text:
        raise ValueError(f"Expected a docstring, which begins what the documentation says of a part; {part} has none.")
    return text.replace("|", "\\|")

"""The reference is whole: every public name, every parameter with its type, default and range."""

import ast
import importlib
import inspect
import re
from numbers import Real
from pathlib import Path

import pytest
from sklearn.utils._param_validation import Interval

import skhug

DOCS = Path(__file__).parents[2] / "docs"
MODULES = ["skhug", *(f"skhug.{name}" for name in skhug._MODULES)]
HEADER = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.M)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: : (.*))?$", re.M)
# What may stand for a bound in words; of "above 0" and "positive" either will do.
BOUNDS = {
    ("left", "closed"): ["at least {}", "{} or more", "[{}", "from {}", ">= {}"],
    ("left", "open"): ["above {}", "({},", "positive", "> {}"],
    ("right", "closed"): ["at most {}", "to {}", "{}]"],
    ("right", "open"): ["below {}", "{})"],
}


def public():
    """Yield (full name, object) of every public name, of each object once."""
    seen = set()
    for module in map(importlib.import_module, MODULES):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if id(value) not in seen and not isinstance(value, str):
                seen.add(id(value))
                yield f"{module.__name__}.{name}", value


PUBLIC = dict(public())
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)} | {
    f"{name}.{method}": value
    for name, cls in CLASSES.items()
    for method, value in inspect.getmembers(cls, inspect.isroutine)
    if not method.startswith("_")
    and (getattr(value, "__module__", None) or "").startswith("skhug")
    and "Parameters\n---" in (inspect.getdoc(value) or "")
}


def sections(value):
    """Return the sections of a docstring, by name."""
    parts = HEADER.split(inspect.getdoc(value) or "")
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(value):
    """Return {parameter: (type, description)}."""
    text = sections(value).get("Parameters", "")
    entries = list(ENTRY.finditer(text))
    ends = [*(entry.start() for entry in entries), len(text)][1:]
    return {
        name.strip("* "): (entry[2] or "", " ".join(text[entry.end() : end].split()))
        for entry, end in zip(entries, ends, strict=True)
        for name in entry[1].split(",")
    }


def parameters(value):
    if (
        inspect.isclass(value)
        and value.__init__ is object.__init__
        and not hasattr(value, "_fields")
    ):
        return {}
    signature = inspect.signature(value)
    return {name: p for name, p in signature.parameters.items() if name not in ("self", "cls")}


def defaults(kind):
    """Return the values that a type's ``default=`` names, more than one for a group of names."""
    text = kind.partition("default=")[2]
    return [literal(text), *map(literal, text.split(", "))]


def literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # as nan


def same(default, value):
    return repr(default) == repr(value) or default == value or str(default) == value


def listed():
    """Return the full names in the reference's tables."""
    names, module = set(), None
    for line in (DOCS / "api.rst").read_text().splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split("::")[1].strip()
        elif re.fullmatch(r"   \w+", line):
            names.add(f"{module}.{line.strip()}")
    return names


def test_every_public_name_is_in_the_reference():
    objects = {id(importlib.import_module(m)): m for m in MODULES}
    in_reference = set()
    for full in listed():
        module, _, name = full.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        assert id(value) not in objects
        in_reference.add(id(value))
    missing = [name for name, value in PUBLIC.items() if id(value) not in in_reference]
    assert missing == []


def test_the_reference_names_nothing_private():
    public_ids = {id(value) for value in PUBLIC.values()}
    strange = [
        full
        for full in listed()
        for module, _, name in [full.rpartition(".")]
        if id(getattr(importlib.import_module(module), name)) not in public_ids
    ]
    assert strange == []


@pytest.mark.parametrize("name", CLASSES | FUNCTIONS)
def test_every_parameter_is_documented_with_type_and_default(name):
    value = (CLASSES | FUNCTIONS)[name]
    taken, described = parameters(value), documented(value)
    assert set(described) == set(taken), "documented and taken"
    for parameter, (kind, text) in described.items():
        if text.startswith("As for "):
            continue
        assert kind or taken[parameter].kind is inspect.Parameter.VAR_KEYWORD, parameter
        default = taken[parameter].default
        if default is None:
            assert "optional" in kind or "None" in kind, (parameter, kind)
        elif default is not inspect.Parameter.empty:
            assert any(same(default, said) for said in defaults(kind)), (parameter, kind)


@pytest.mark.parametrize("cls", [skhug.HUGClassifier, skhug.HUGEmbedder])
def test_every_numeric_parameter_of_an_estimator_says_its_range(cls):
    described = documented(cls)
    checked = 0
    for parameter, constraints in cls._parameter_constraints.items():
        kind, text = described[parameter]
        for interval in (c for c in constraints if isinstance(c, Interval)):
            assert issubclass(interval.type, Real)
            for side, bound in (("left", interval.left), ("right", interval.right)):
                if bound is None:
                    continue
                closed = "closed" if interval.closed in (side, "both") else "open"
                words = [phrase.format(bound) for phrase in BOUNDS[side, closed]]
                assert any(word in f"{kind} {text}" for word in words), (parameter, words)
                checked += 1
    assert checked > 10


@pytest.mark.parametrize("name", [name for name in PUBLIC if name in CLASSES | FUNCTIONS])
def test_every_public_name_has_an_example(name):
    assert ">>> " in (inspect.getdoc(PUBLIC[name]) or ""), f"{name} has no example that runs"

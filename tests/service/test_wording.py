"""Every sentence of the service, found in its source, is said to the reader who can act on it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from registry import errors
from service.cli.problems import fault, sentence
from service.dashboard.sentences import ON_PAGES, for_person
from service.dashboard.sentences import sentence as on_page
from service.problems import PROBLEMS
from service.wording import speaks_api, speaks_commands

ROOT = Path(__file__).parents[2]
OPERATING = (errors.BackupError, errors.EmbeddedDatabaseError, errors.SchemaTooNewError)
"""Families that only commands on the machine of the service meet."""
QUOTING = {"invalid-config", "label-confusable", "label-invalid"}


def text_of(node):
    """Return a literal or a formatted string, with a word in place of what is put in; None for anything else."""
    match node:
        case ast.Constant(value=str() as value):
            return value
        case ast.JoinedStr(values=parts):
            return "".join(p.value if isinstance(p, ast.Constant) else "3" for p in parts)
        case _:
            return None


@cache
def functions():
    """Return all parts of each function of the service."""
    return [
        list(ast.walk(scope))
        for path in sorted((ROOT / "service").rglob("*.py"))
        for scope in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def calls(name):
    """Yield the texts among the arguments of each call of a function in the service, also of what a variable holds."""
    for nodes in functions():
        held = {
            node.targets[0].id: text_of(node.value)
            for node in nodes
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name:
                yield [
                    held.get(argument.id) if isinstance(argument, ast.Name) else text_of(argument)
                    for argument in node.args
                ]


def problems():
    """Yield code and sentence of each problem that is raised with a sentence of its own."""
    for arguments in calls("Problem"):
        if len(arguments) > 1 and arguments[0] and arguments[1]:
            yield arguments[0], arguments[1]
    for arguments in calls("_rejected"):
        if arguments and arguments[0]:
            yield "archive-rejected", arguments[0]


def registry_sentences():
    """Yield code and sentence of each error of the registry that has one, with a word in place of what is put in."""
    for kind in vars(errors).values():
        if not isinstance(kind, type) or not issubclass(kind, errors.SentenceError):
            continue
        if not issubclass(kind, OPERATING) and hasattr(kind, "sentence"):
            yield kind.code, re.sub(r"{.*?}", "3", kind.sentence)


def entries():
    """Yield the sentence of each entry of `errors`."""
    for arguments in calls("FieldError"):
        if len(arguments) > 1 and arguments[1]:
            yield arguments[1]


SAID = sorted({*problems(), *registry_sentences()})


def test_the_sentences_are_found():
    assert len(SAID) > 60
    assert len(set(entries())) > 8


@pytest.mark.parametrize(("code", "detail"), SAID)
def test_each_sentence_finds_its_reader(code, detail):
    assert not speaks_commands(detail), "the API has no commands"
    if code not in QUOTING:
        assert not speaks_api(sentence(code, detail))
    if code in PROBLEMS and code not in QUOTING:
        shown = for_person(code, detail)
        assert not speaks_api(shown) or shown == ON_PAGES["validation"]


@pytest.mark.parametrize("detail", sorted(set(entries())))
def test_each_entry_finds_its_reader(detail):
    assert not speaks_commands(detail)
    assert not speaks_api(fault({"pointer": "/images/0", "detail": detail}))


@pytest.mark.parametrize("code", PROBLEMS)
def test_each_code_has_a_sentence_for_each_reader(code):
    assert not speaks_commands(PROBLEMS[code].help)
    sentence = on_page(code)
    assert sentence.endswith(".") or code in ON_PAGES
    assert not speaks_commands(sentence)
    assert (
        not speaks_api(sentence) or sentence == ON_PAGES["validation"]
    )  # a page has fields of its own


def test_pages_have_sentences_for_codes_that_there_are():
    assert ON_PAGES.keys() <= PROBLEMS.keys() | {"alias-moved"}

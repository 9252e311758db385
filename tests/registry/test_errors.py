"""Each error of the registry says one sentence, and says it in one place."""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import fields
from string import Formatter

import pytest

from registry import errors
from registry.errors import RegistryError, SentenceError

ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RegistryError)
]
WITH_SENTENCE = [kind for kind in ALL if hasattr(kind, "sentence")]
COMPUTED = {"InvalidKeyError", "BackupIncompleteError"}
"""Those whose sentence no template gives: it is the caller's, with more beside it, or depends on how much there is."""
VALUES = {
    **{int: 7, str: "seven", list[str]: ["a", "b"], list[int]: [2, 5]},
    **{Sequence[int]: [3], Sequence[str]: ["c"]},
}


def raised(kind):
    """Return an error of a kind, raised with a value of each field's type."""
    return kind(*(VALUES[field.type] for field in fields(kind)))


def test_an_error_says_what_it_is_raised_with():
    error = errors.StaleHeadError(4, head=7)
    assert str(error) == "The learner's head is version 7, not 4; look at it again and repeat."
    assert (error.expected, error.head, error.code) == (4, 7, "stale-head")
    assert repr(error) == f"StaleHeadError({str(error)!r})"
    gone = errors.TrainingImagesGoneError([2, 5])
    assert "images of task 2, 5 were deleted" in str(gone)
    assert str(errors.LabelKnownError(["wren"])).startswith("1 of the labels are known")


@pytest.mark.parametrize("kind", WITH_SENTENCE, ids=lambda kind: kind.__name__)
def test_a_sentence_is_whole_and_uses_what_is_there(kind):
    message = str(raised(kind))
    assert message.endswith(".")
    assert "{" not in message
    assert kind.__doc__ == kind.sentence
    places = [name for _, name, _, _ in Formatter().parse(kind.sentence) if name is not None]
    assert all(name.startswith("self.") for name in places)


def test_a_sentence_stands_once():
    tree = ast.parse(inspect.getsource(errors))
    with_init = {
        kind.name
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in kind.body)
    }
    assert with_init == COMPUTED, "a SentenceError needs no __init__"
    twice = {
        kind.name
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        and ast.get_docstring(kind)
        and "sentence" in vars(getattr(errors, kind.name))
    }
    assert not twice, "a sentence is the docstring"


def test_an_error_without_a_sentence_is_a_family_or_raised_with_one():
    without = {
        kind for kind in ALL if issubclass(kind, SentenceError) and not hasattr(kind, "sentence")
    }
    assert without == {SentenceError, errors.NotFoundError, errors.ConflictError, errors.BlobError}
    assert all(kind.__doc__ for kind in ALL)


def test_the_tree_names_every_error():
    tree = inspect.getdoc(errors)
    assert not [kind.__name__ for kind in ALL if kind.__name__ not in tree]

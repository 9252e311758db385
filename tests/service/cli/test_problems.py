import httpx
import pytest

from service.cli.problems import HINTS, explain
from service.http.problems import PROBLEMS
from service.remote.errors import ProblemError


def problem(code, *errors, status=422, **headers):
    body = {"code": code, "detail": "It went wrong.", "errors": list(errors)}
    return ProblemError(httpx.Response(status, json=body, headers=headers))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ({"pointer": "/images/3", "filename": "photos/heron/a.jpg"}, "photos/heron/a.jpg: Bad."),
        ({"pointer": "/classes", "label": "heron"}, "heron: Bad."),
        ({"pointer": "/images/3", "filename": "b/a.jpg", "label": "a"}, "b/a.jpg: Bad: a."),
        ({"pointer": "/images/3", "filename": None}, "/images/3: Bad."),
        ({"pointer": "/body/name"}, "/body/name: Bad."),
        ({"pointer": ""}, "Bad."),
        ({"pointer": "/options", "prediction": "prd_1", "index": 2}, "prd_1 --index 2: Bad."),
    ],
)
def test_a_fault_names_the_file_or_label_it_is_about(error, line):
    assert explain(problem("validation", {**error, "detail": "Bad."}))[1:] == [f"  {line}"]


def test_the_rest_of_many_faults_is_counted():
    lines = explain(problem("validation", *[{"pointer": "/x", "detail": "Bad."}] * 23))
    assert (len(lines), lines[-1]) == (22, "  ... and 3 more")


def test_the_command_line_has_its_own_word():
    lines = explain(problem("images-rejected", {"filename": "a.jpg", "detail": "Bad."}))
    assert lines[0] == "It went wrong. (images-rejected)"
    assert "--skip-bad" in lines[-1]
    assert explain(problem("internal")) == ["It went wrong. (internal)"]


def test_a_wait_is_told_in_seconds():
    assert explain(problem("rate-limited", **{"Retry-After": "90"}))[-1] == "Try again in 90 s."


def test_a_class_that_cannot_be_renamed_is_not_to_be_extended():
    assert explain(problem("label-known")) == ["It went wrong. (label-known)"]
    assert "--extend" in explain(problem("label-known", {"label": "a", "detail": "Known."}))[-1]


def test_hints_are_of_problems_that_there_are():
    assert HINTS.keys() <= PROBLEMS.keys()

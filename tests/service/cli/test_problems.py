import httpx
import pytest

from service.cli.problems import HINTS, SENTENCES, explain, fault, sentence
from service.problems import PROBLEMS
from service.remote.errors import ProblemError
from service.wording import speaks_api, speaks_commands


def problem(code, *errors, status=422, **headers):
    body = {"code": code, "detail": "It went wrong.", "errors": list(errors)}
    return ProblemError(httpx.Response(status, json=body, headers=headers))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ({"pointer": "/images/3", "filename": "photos/heron/a.jpg"}, "photos/heron/a.jpg: Bad."),
        ({"pointer": "/classes", "label": "heron"}, "heron: Bad."),
        ({"pointer": "/images/3", "filename": "b/a.jpg", "label": "a"}, "b/a.jpg: Bad: a."),
        ({"pointer": "/images/3", "filename": None}, "image 4: Bad."),
        ({"pointer": "/body/name"}, "NAME: Bad."),
        ({"pointer": "/options/config/epochs"}, "--config epochs: Bad."),
        ({"pointer": "/query/limit"}, "--limit: Bad."),
        ({"pointer": "/body/shoe_size"}, "shoe size: Bad."),
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


@pytest.mark.parametrize("code", PROBLEMS)
def test_no_problem_is_told_in_the_words_of_the_api(code):
    response = httpx.Response(422, json={"code": code, "detail": PROBLEMS[code].help})
    [told, *hints] = explain(ProblemError(response))
    told = told.removesuffix(f" ({code})")
    assert told.endswith(".")
    assert not speaks_api(told), told
    assert all(speaks_commands(hint) or "Name a key" in hint for hint in hints)


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("images-rejected", "3 of the images cannot be used: send `on_bad_image=skip`."),
        ("label-known", 'Send them with the mode "extend".'),
        ("too-many-images", "The request has more images than `/v1/info` allows."),
        ("from-a-later-release", "Send `X-Later: yes`."),
    ],
)
def test_what_only_programs_have_is_not_passed_on(code, detail):
    response = httpx.Response(422, json={"code": code, "detail": detail})
    sentence = explain(ProblemError(response))
    assert not speaks_api(sentence[0].rpartition(" (")[0])
    assert "on_bad_image" not in " ".join(sentence)


def test_what_was_counted_is_passed_on():
    detail = "2 of the classes have too few images: each needs at least 2."
    assert sentence("too-few-images", detail) == detail
    assert "Did you mean epochs?" in sentence("invalid-config", "Did you mean `epochs`?")
    confusable = fault(
        {"detail": "The label looks like my_mode.", "label": "My_mode"}, "label-confusable"
    )
    assert confusable == "My_mode: The label looks like my_mode."


def test_hints_are_of_problems_that_there_are():
    assert HINTS.keys() | SENTENCES.keys() <= PROBLEMS.keys()

"""The clients know every operation of the contract, with every parameter."""

import inspect
import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import get_args, get_origin, is_typeddict

import pytest

from service.client import (
    AsyncFilopodia,
    AsyncTask,
    Filopodia,
    LabelledImage,
    Task,
    TaskOptions,
)
from service.contract import schema
from service.contract_replies import REPLIES
from service.layout.layouts import Layout, PlacedImage
from service.remote.calls import Call, Pages
from service.remote.learner_calls import update_class
from service.remote.methods import Methods
from service.remote.prediction_calls import predict, predict_all, why_image

NOT_YET: set[tuple[str, str]] = set()
"""Operations that no method calls so far."""
PAGING = {"limit", "cursor"}
EXAMPLES = {
    "images": [LabelledImage(b"x", "heron")],
    "options": TaskOptions(
        name="n",
        mode="extend",
        eval_fraction=0.5,
        on_bad_image="skip",
        expected_head_version=1,
        max_forgetting=0.1,
        seed=1,
        from_feedback=True,
        screening="warn",
        splits=False,
        encoding="cp850",
        config={"a": 1},
    ),
    "layout": Layout((PlacedImage(0, PurePosixPath("heron/a.jpg"), "heron", "auto"),)),
    "archive": Path("photos.zip"),
    "file": Path("bundle.tar"),
    "learners": ["birds"],
    "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
    "quotas": {"tasks_per_day": 5},
    "events": ["task.ended"],
    "rule": {"known": False},
    "since": datetime(2026, 1, 1, tzinfo=UTC),
    "until": datetime(2026, 1, 2, tzinfo=UTC),
    "status": ["queued"],
    "learner": "birds",
    "tasks": [1],
    "classes": ["heron"],
    "on_progress": None,
    "on_part": None,
    "format": "csv",
    "changes": {"smp_1": "heron"},
}


@pytest.fixture(scope="module")
def operations():
    paths = schema()["paths"]
    return {
        (method.upper(), path): operation
        for path, found in paths.items()
        for method, operation in found.items()
    }


def described():
    return {name: found.build for name, found in vars(Methods).items() if hasattr(found, "build")}


def others(client):
    return {name for name in vars(client) if name[0] != "_"}


def call_of(build, *, is_full):
    """Return what a method sends with all or only the needed arguments; None where it has no request of its own."""
    arguments = {
        parameter.name: EXAMPLES.get(parameter.name, "1")
        for parameter in inspect.signature(build).parameters.values()
        if is_full or parameter.default is parameter.empty
    }
    arguments |= {key: 1 for key in ("limit", "wait_s") if key in arguments}
    if build in {predict, predict_all}:
        arguments["images"] = [("a.png", b"x")]
    if build is why_image:
        arguments["image"] = ("a.png", b"x")
    exchange = build(**arguments)
    if isinstance(exchange, Pages):
        return exchange.call("c", n=1)
    return exchange if isinstance(exchange, Call) else None


def calls(*, is_full=True):
    found = [call_of(build, is_full=is_full) for build in described().values()]
    # A label that no address can hold goes another way.
    found.append(update_class("birds", "..", shown_name="1", hidden=True, min_score=0.5))
    return [call for call in found if call is not None]


def test_both_clients_have_the_same_methods():
    assert issubclass(Filopodia, Methods)
    assert issubclass(AsyncFilopodia, Methods)
    assert others(Filopodia) == {"ask", "close", "events", "handle"}
    assert others(AsyncFilopodia) == {"ask", "aclose", "events", "handle"}
    assert others(Task) == others(AsyncTask) == {"events"}


@pytest.mark.parametrize("name", described())
def test_a_method_is_awaited_in_the_asynchronous_client_and_only_there(name):
    waiting = getattr(Filopodia("http://127.0.0.1:9", "fil_x"), name)
    awaited = getattr(AsyncFilopodia("http://127.0.0.1:9", "fil_x"), name)
    assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(waiting)
    assert inspect.signature(waiting) == inspect.signature(awaited)
    assert waiting.__doc__ == awaited.__doc__ == vars(Methods)[name].__doc__


def test_every_operation_has_a_method(operations):
    known = {(call.method, call.template) for call in [*calls(), *calls(is_full=False)]}
    assert known <= operations.keys()
    assert operations.keys() - known == NOT_YET


def test_every_parameter_can_be_given_and_no_other(operations):
    sent = {}
    for call in calls():
        operation = operations[call.method, call.template]
        query = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
        assert set(call.params) <= query, call
        assert set(call.places) == set(re.findall(r"{(\w+)}", call.template)), call
        sent.setdefault((call.method, call.template), set()).update(call.params)
    for operation, names in sent.items():
        parameters = operations[operation].get("parameters", [])
        assert {p["name"] for p in parameters if p["in"] == "query"} - PAGING <= names, operation


def test_every_field_of_a_json_body_can_be_given_and_no_other(operations):
    schemas = schema()["components"]["schemas"]
    sent = {}
    for call in calls():
        if call.json is not None:
            sent.setdefault((call.method, call.template), set()).update(call.json)
    for operation, names in sent.items():
        stated = operations[operation]["requestBody"]["content"]["application/json"]["schema"]
        if "$ref" in stated:
            stated = schemas[stated["$ref"].rpartition("/")[2]]
        assert set(stated["properties"]) == names, operation
    assert len(sent) >= 4


def test_what_creates_carries_an_idempotency_key(operations):
    takes_key = {
        key
        for key, operation in operations.items()
        if any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", []))
    }
    sends_key = {(call.method, call.template) for call in calls() if call.creates}
    assert sends_key == takes_key - NOT_YET


def reply_of(build):
    """Return the name of the dictionary that a method is annotated to reply with, or a list of; None for all else."""
    (kind,) = get_args(inspect.signature(build).return_annotation)
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    return kind.__name__ if is_typeddict(kind) else None


def schema_of(operation):
    """Return the schema that an operation answers with, or that its pages hold."""
    (answer, *_) = [found for status, found in operation["responses"].items() if status < "3"]
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
    name = reference and reference.rpartition("/")[2]
    return re.sub(r"^Page_(\w+)_$", r"\1", name) if name else None


def test_a_method_is_annotated_with_what_its_operation_answers(operations):
    checked = set()
    for name, build in described().items():
        call = call_of(build, is_full=True)
        if call is None or not get_args(inspect.signature(build).return_annotation):
            continue
        found = reply_of(build)
        schema = schema_of(operations[call.method, call.template])
        if found is not None:
            # Of what has a secret that is shown once, the contract has a schema of its own.
            assert REPLIES[found].schema == schema.replace("Created", "Read"), name
            checked.add(schema)
    answered = {schema_of(operation) for operation in operations.values()} - {None}
    assert answered == checked

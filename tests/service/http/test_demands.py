"""What routes declare is found by the path of a request, and by nothing else."""

import ast
import inspect

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts

from service.http.bodies import STRANGER_BODY_BYTES, body_limit
from service.http.demands import (
    BODY_OVERHEAD,
    FORM_BYTES,
    NOTHING_SPECIAL,
    Demands,
    DemandTable,
    demands,
)
from service.http.security import Principal
from service.settings import ServiceSettings

KEY = Principal("key", "somebody", "trainer")


@pytest.fixture
def table(app):
    return DemandTable(app.routes)


@pytest.mark.parametrize(
    ("method", "path", "most"),
    [
        ("POST", "/v1/learners/birds/tasks", lambda s: s.max_task_bytes + BODY_OVERHEAD),
        ("POST", "/v1/learners/import", lambda s: s.max_bundle_bytes),
        ("POST", "/v1/learners/import/predictions", lambda s: s.max_predict_bytes + BODY_OVERHEAD),
        ("POST", "/admin/learners/birds/try", lambda s: s.max_predict_bytes + BODY_OVERHEAD),
        ("POST", "/admin/learners/birds/live", lambda s: FORM_BYTES),
        ("POST", "/admin/nowhere/at/all", lambda s: FORM_BYTES),
        ("POST", "/v1/learners", lambda s: s.max_json_bytes),
        ("POST", "/admin/import", lambda s: s.max_bundle_bytes),
        ("PATCH", "/v1/learners/import", lambda s: s.max_json_bytes),
        ("PUT", "/v1/learners/birds/tasks/extra", lambda s: s.max_json_bytes),
        ("POST", "/nowhere", lambda s: s.max_json_bytes),
    ],
)
def test_a_body_may_be_as_long_as_its_route_says(table, method, path, most):
    settings = ServiceSettings()
    demands = table.find(method, path)
    assert body_limit(demands, KEY, settings) == most(settings)
    assert body_limit(demands, None, settings) == STRANGER_BODY_BYTES


def test_few_routes_predict_and_two_log_in(app, table):
    found = {
        (method, context.path): table.find(method, context.path)
        for context in iter_route_contexts(app.routes)
        for method in context.methods
    }
    assert {path for (_, path), one in found.items() if one.predicts} == {
        "/v1/learners/{name}/predictions",
        "/admin/learners/{name}/try",
        "/v1/learners/{name}/why",
        "/v1/predictions/{prediction_id}/images/{index}/why",
        "/admin/predictions/{prediction_id}/images/{index}/why",
        "/v1/predictions/{prediction_id}/images/{index}/heat",
        "/v1/predictions/{prediction_id}/images/{index}/heat.png",
        "/admin/predictions/{prediction_id}/images/{index}/heat.png",
        "/v1/learners/{name}/versions/{number}/confusion/images",
        "/admin/learners/{name}/versions/{number}/confusion/images",
    }
    assert {route for route, one in found.items() if one.logs_in} == {
        ("POST", "/admin/login"),
        ("POST", "/admin/enter"),
    }
    assert not any(
        one.is_public for (method, path), one in found.items() if path.startswith("/v1/learners")
    )


def test_what_takes_an_idempotency_key_says_so(app, table):
    """Every endpoint that keeps its answer for a key, and no other: read off what the endpoints call."""
    keeps = {"IdempotentRequest", "create_task", "import_bundle"}
    keeps |= {"post_upload", "create_from_stored"}
    for context in iter_route_contexts(app.routes):
        source = inspect.getsource(context.endpoint)
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        for method in context.methods:
            declared = table.find(method, context.path).is_idempotent
            assert declared == bool(names & keeps), (method, context.path)


def test_of_a_method_that_a_path_does_not_have_the_first_route_tells():
    app, router = FastAPI(openapi_url=None), APIRouter()

    @router.get("/a/{name}")
    @demands(is_public=True)
    def get(name: str) -> None: ...

    @router.post("/a/{name}")
    def post(name: str) -> None: ...

    app.include_router(router, prefix="/below")
    table = DemandTable(app.routes)
    assert table.find("GET", "/below/a/x").is_public
    assert table.find("POST", "/below/a/x") == NOTHING_SPECIAL
    assert table.find("DELETE", "/below/a/x").is_public
    assert table.find("GET", "/below/a/x/y") == NOTHING_SPECIAL
    assert table.find("GET", "/a/x") == NOTHING_SPECIAL


def test_what_is_not_declared_is_the_strictest():
    demands = Demands()
    assert demands == NOTHING_SPECIAL
    assert not any((demands.is_public, demands.is_spooled, demands.predicts, demands.logs_in))

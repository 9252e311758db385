"""Parts of the OpenAPI schema that FastAPI cannot read off the endpoints: bodies in several forms, and problems."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.http.demands import DemandTable
from service.problems import MEDIA_TYPE
from service.schemas.base import ProblemRead
from service.schemas.prediction_jobs import PredictionJobCreate
from service.schemas.predictions import PredictCreate
from service.schemas.tasks import TaskCreate

_BINARY = {"schema": {"type": "string", "format": "binary"}}


_PROBLEM = {
    "description": "A problem (RFC 9457); `code` says which",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemRead"}}},
}
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "Repeating a request with the same key within 24 h gives the first answer again",
}
_SECURITY = {"type": "http", "scheme": "bearer", "description": "A key `fil_<id>_<secret>`"}


def build_schema(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI schema: FastAPI's, with our problems instead of its validation errors, and keys."""
    table = DemandTable(app.routes)
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    problem = ProblemRead.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}), ProblemRead=problem)
    components["securitySchemes"] = {"key": _SECURITY}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                demands = table.find(method.upper(), path)
                if demands.is_idempotent:
                    operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
                operation["responses"]["422"] = _PROBLEM
                operation["responses"]["default"] = _PROBLEM
                operation["security"] = [] if demands.is_public else [{"key": []}]
    return schema


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace references into `$defs` by what they name, so that the schema stands alone."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            return resolve(definitions[name]) if name else {k: resolve(v) for k, v in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(schema)
    return resolved


_TASK_FORM = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "labels": {"type": "array", "items": {"type": "string"}},
        "manifest": {"type": "string", "description": "JSON: filename to `{label, split}`"},
        "options": {"type": "string", "description": "JSON: the task's options"},
    },
}
_PREDICT_FORM = {
    "type": "object",
    "required": ["images"],
    "additionalProperties": False,
    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
}

TASK_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _TASK_FORM},
            "application/json": {"schema": _inline(TaskCreate.model_json_schema())},
            "application/zip": _BINARY,
            "application/x-tar": _BINARY,
            "application/gzip": _BINARY,
        },
    }
}
PREDICTION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "multipart/form-data": {"schema": _PREDICT_FORM},
            "application/json": {"schema": _inline(PredictCreate.model_json_schema())},
        },
    }
}
JOB_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _PREDICT_FORM},
            "application/json": {"schema": _inline(PredictionJobCreate.model_json_schema())},
            "application/zip": _BINARY,
            "application/x-tar": _BINARY,
            "application/gzip": _BINARY,
        },
    }
}
JOB_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        }
    }
}
BUNDLE_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/x-tar": _BINARY}}
}
ONNX_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "The ONNX model", "content": {"application/octet-stream": _BINARY}}
}
BUNDLE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bundle", "content": {"application/x-tar": _BINARY}}
}

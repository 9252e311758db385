"""All addresses of the dashboard, read off the app, so that no test can miss a new one."""

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def admin_routes(app: FastAPI) -> set[tuple[str, str]]:
    """Return method and path template of every route below `/admin`."""
    found = {
        (method, context.path)
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
        if context.path == "/admin" or context.path.startswith("/admin/")
    }
    assert ("GET", "/admin/learners/{name}") in found, "routes are not where they were"
    return found


def changing(app: FastAPI) -> list[str]:
    """Return the path templates of the routes that may change something."""
    routes = sorted(route for route in admin_routes(app) if route[0] not in SAFE)
    assert {method for method, _ in routes} == {"POST"}, "forms can only post"
    return [path for _, path in routes]


def pages(app: FastAPI) -> list[str]:
    """Return the path templates of what is only read."""
    return sorted(path for method, path in admin_routes(app) if method == "GET")

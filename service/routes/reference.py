"""The API's own description: the OpenAPI schema and a page rendered from it. Nothing comes from another origin."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from service.http.demands import demands
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.routes.reference_pages import PAGE_HEADERS, reference_page

router = APIRouter(route_class=StrictRoute, include_in_schema=False)
reader = [requires("reader")]


@router.get("/", response_class=RedirectResponse)
@demands(is_public=True)
def start() -> RedirectResponse:
    """Lead whoever typed only the address to the dashboard."""
    return RedirectResponse("/admin", status_code=303)


@router.get("/openapi.json", dependencies=reader)
def openapi(request: Request) -> JSONResponse:
    """Return the OpenAPI schema."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", response_class=HTMLResponse, dependencies=reader)
def docs(request: Request, viewer: PrincipalDep) -> HTMLResponse:
    """Return the API reference."""
    page = reference_page(request.app.openapi(), viewer)
    return HTMLResponse(page, headers=PAGE_HEADERS)

"""The API described to a person: problems explained, and the reference. In the frame of the dashboard's pages.

Their templates extend the dashboard's frame; what it knows is not needed here. Everything is served from here, so it
works offline and under the same policy as every page.
"""

from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markdown_it import MarkdownIt
from markupsafe import Markup

from service.assets import asset_url
from service.http.security import Principal
from service.problems import ProblemType

PAGE_HEADERS = {"Referrer-Policy": "same-origin"}
"""As on the dashboard's pages: else the form that logs out would send `Origin: null`."""
_METHODS = ("get", "post", "put", "patch", "delete")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("service", "templates"),
                PackageLoader("service", "dashboard/templates"),
            ]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    logo = Markup(environment.get_template("logo.html").render())
    environment.filters["prose"] = prose
    environment.globals.update(asset=asset_url, logo=lambda: logo)
    return environment


def problem_page(code: str, kind: ProblemType) -> str:
    """Return the page of one problem."""
    template = _environment().get_template("problem.html")
    return template.render(code=code, kind=kind, viewer=None, section="")


def reference_page(schema: dict[str, Any], viewer: Principal) -> str:
    """Return the API reference: every operation of the OpenAPI schema, with a form to try it."""
    template = _environment().get_template("reference.html")
    return template.render(
        viewer=viewer,
        section="api",
        version=schema["info"]["version"],
        description=schema["info"].get("description", ""),
        groups=_groups(schema),
        schemas=sorted(schema["components"]["schemas"].items()),
    )


def _groups(schema: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in schema["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                tag = operation.get("tags", ["Other"])[0]
                groups.setdefault(tag, []).append({"path": path, "method": method, **operation})
    return groups


@cache
def prose(text: str) -> Markup:
    """Return the little Markdown of our docstrings as HTML: paragraphs, lists, `code` and **bold**.

    What was rendered is kept: these are a few hundred sentences of our own.

    Example:
        >>> prose("Say `hi`.")
        Markup('<p>Say <code>hi</code>.</p>')
    """
    return Markup(_MARKDOWN.render(text).rstrip())


def _markdown() -> MarkdownIt:
    """Return what renders no more than we write: no HTML, no links, no images.

    It prepares its rules at the first use, and two threads must not do so at once.
    """
    renderer = MarkdownIt("zero").enable(["list", "backticks", "emphasis"])
    renderer.render("- first")
    return renderer


_MARKDOWN = _markdown()

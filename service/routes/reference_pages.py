"""The service's own pages: problems explained, and the API reference. Rendered here, so that they work offline."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup

from service.assets import asset_url
from service.problems import ProblemType

_METHODS = ("get", "post", "put", "patch", "delete")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("service", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    # Without one a browser asks for /favicon.ico, which is nobody's below a path of a host.
    environment.globals["icon"] = asset_url("logo.svg")
    return environment


@cache
def _asset(name: str) -> str:
    return resources.files("service").joinpath("templates", name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page_policy() -> str:
    """Return the Content-Security-Policy of these pages: their own style and script, by hash, and nothing else."""
    return (
        f"default-src 'none'; style-src {_csp_hash(_asset('reference.css'))}; "
        f"script-src {_csp_hash(_asset('reference.js'))}; connect-src 'self'; img-src 'self' blob:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def problem_page(code: str, kind: ProblemType) -> str:
    """Return the page of one problem."""
    template = _environment().get_template("problem.html")
    return template.render(code=code, kind=kind, style=Markup(_asset("reference.css")))


def reference_page(schema: dict[str, Any]) -> str:
    """Return the API reference: every operation of the OpenAPI schema, with a form to try it."""
    template = _environment().get_template("reference.html")
    return template.render(
        title=schema["info"]["title"],
        version=schema["info"]["version"],
        description=schema["info"].get("description", ""),
        groups=_groups(schema),
        schemas=sorted(schema["components"]["schemas"].items()),
        style=Markup(_asset("reference.css")),
        script=Markup(_asset("reference.js")),
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

"""The client needs httpx and anyio, and nothing of the server: by what it imports, and where nothing else is there."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.alone import absent, run_alone, with_client
from tests.declared import ROOT
from tests.served import served

CLIENT = ("service", "service.client", "service.layout", "service.remote")
COMMAND_LINE = (
    *CLIENT,
    "service.cli",
    "service.image_warnings",
    "service.startup",
    "service.wording",
    # What every process of ours begins with, and one formula.
    "registry",
    "registry.intervals",
    "registry.log_lines",
    "registry.streams",
)
IF_THERE = {
    "attr",
    "brotli",
    "brotlicffi",
    "click",
    "h2",
    "pygments",
    "rich",
    "socksio",
    "zstandard",
}
"""What httpx and rich load where it is installed, and do without."""
NEEDED = ("anyio", "httpx")
OURS = ("migrations", "models", "registry", "service", "worker")


def is_in(module: str, rooms: tuple[str, ...]) -> bool:
    """Return whether a module is one of `rooms` or within one; of a package at the top only that itself."""
    return module in rooms or any(module.startswith(f"{room}.") for room in rooms if "." in room)


def imports_of(module: str) -> Iterator[str]:
    """Yield what a module of ours imports, and the packages that this loads on the way."""
    origin = find_spec(module).origin
    for node in ast.walk(ast.parse(Path(origin).read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [node.module, *(name for name in inside if is_module(name))]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def is_module(name: str) -> bool:
    place = ROOT / Path(*name.split("."))
    return place.with_suffix(".py").is_file() or place.is_dir()


def reached(*doors: str) -> set[str]:
    """Return all that is imported, at once or in the end, where one of our modules is."""
    found: set[str] = set()
    waiting = list(doors)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            if module.partition(".")[0] in OURS:
                waiting += imports_of(module)
    return found


def split(modules: set[str]) -> tuple[set[str], set[str]]:
    """Return ours, and the names of the packages of others."""
    ours = {module for module in modules if module.partition(".")[0] in OURS}
    others = {module.partition(".")[0] for module in modules - ours}
    return ours, others - sys.stdlib_module_names


def test_the_client_imports_httpx_and_anyio_and_its_own_rooms():
    ours, others = split(reached("service.client"))
    assert others == {"httpx", "anyio"}
    assert {module for module in ours if not is_in(module, CLIENT)} == set()


def test_the_command_line_imports_typer_and_rich_beside_the_client():
    rooms = ROOT / "service" / "cli"
    doors = [f"service.cli.{path.stem}" for path in rooms.glob("*.py") if path.stem[0] != "_"]
    assert "service.cli.learning" in doors
    ours, others = split(reached(*doors))
    assert others == {"httpx", "anyio", "typer", "rich"}
    assert {module for module in ours if not is_in(module, COMMAND_LINE)} == set()
    assert not any(is_in(module, ("service.cli.local",)) for module in ours)


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("from service.client import AsyncFilopodia, Filopodia", NEEDED),
        ("from service.cli.entry import main; sys.argv[1:] = ['--help']; main()", ()),
        ("from service.cli.entry import main; sys.argv[1:] = ['learn', '--help']; main()", ()),
    ],
    ids=["client", "help", "learn"],
)
def test_nothing_of_the_server_is_loaded_where_it_could_be(code, needed):
    others = set(absent(*needed)) - IF_THERE
    whole = (
        "import sys\n"
        "before = set(sys.modules)\n"
        f"try: {code}\n"
        f"finally: print('LOADED', *sorted({others} & (set(sys.modules) - before)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "LOADED"


def test_both_clients_work_where_nothing_else_is(app, role_keys, tmp_path):
    code = """
import asyncio, sys
from service.client import AsyncFilopodia, Filopodia

async def ask():
    async with AsyncFilopodia(*sys.argv[1:]) as client:
        return [learner["name"] for learner in await client.learners()]

with Filopodia(*sys.argv[1:]) as client:
    print(client.create_learner("birds", strategy="simplecil", backbone="tiny")["name"])
print(*asyncio.run(ask()))
"""
    with served(app) as url:
        result = run_alone(code, url, role_keys["trainer"], cwd=tmp_path, refused=absent(*NEEDED))
    assert (result.stdout, result.stderr) == ("birds\nbirds\n", "")


def test_what_stands_for_a_client_alone_lacks_the_server(tmp_path):
    """The other tests show something only because of this."""
    assert {"fastapi", "numpy", "pydantic_settings", "sqlalchemy", "torch"} <= absent()
    assert {"pydantic", "rich", "typer"} <= absent(*NEEDED)
    assert {"httpx", "anyio", "rich", "typer"} <= with_client()
    result = run_alone("import service.app", cwd=tmp_path)
    assert "ModuleNotFoundError: No module named" in result.stderr

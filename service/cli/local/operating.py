"""Commands for whoever runs an installation: `migrate`, `backup`, `restore`, `doctor`.

They go to database and blobs themselves, with the settings of the service, whether it runs or not.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from registry import audit, keys
from registry.blobs.opening import open_blob_store
from registry.blobs.store import BlobStore
from registry.environment import unknown_settings
from registry.errors import BlobStoreUnavailableError, RegistryError
from registry.postgres import schema
from registry.postgres.database import make_engine, make_session_factory
from registry.postgres.installation import open_database
from registry.upkeep.backup import back_up
from registry.upkeep.collection import Collected, collect
from registry.upkeep.inspection import Check, inspect_installation, megabytes
from registry.upkeep.restore import check_backup
from registry.upkeep.restore import restore as restore_backup
from service.cli.options import JsonOption
from service.cli.output import make_console, print_json
from service.private_files import write_private
from service.settings import ServiceSettings

ADMIN_KEY_FILE = "admin.key"
"""Where the service puts its first key, and commands on this machine look for one."""
STATEMENT_TIMEOUT_S = 60.0
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data directory; filopodia-data unless set.")
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


def migrate(data: DataOption = None) -> None:
    """Bring the database's schema up to date. Safe to repeat, and to run from several places at once."""
    with _explained():
        settings = _settings(data)
        with open_database(settings, create=True) as url:
            before, now = schema.upgrade(url)
    change = f"was {before or 'empty'}, is now" if before != now else "is already"
    make_console().print(f"The database's schema {change} at revision {now}.")


def backup(
    file: FileArgument,
    data: DataOption = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Even if stored files are missing or damaged.")
    ] = False,
) -> None:
    """Write everything to one file, as of now. The service may run and learn meanwhile.

    The file holds the images and the hashes of keys: keep it as safe as the installation.
    """
    with _explained():
        settings = _settings(data)
        blobs = open_blob_store(settings.blob_location)
        with open_database(settings) as url:
            saved = back_up(url, blobs, file, allow_incomplete=incomplete)
    console = make_console()
    console.print(
        f"Backed up {_counts(saved.rows)} and {saved.n_blobs} stored files to {file}, {megabytes(saved.size_bytes)}."
    )
    _warn_of_missing(saved.missing)


def restore(
    file: FileArgument,
    data: DataOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove everything that is here first.")
    ] = False,
) -> None:
    """Bring back what a backup holds, into an empty installation. Stop the service and all workers first.

    The file is checked before anything is touched. Tasks that were being learned wait for a worker again.
    """
    with _explained():
        settings = _settings(data)
        blobs = open_blob_store(settings.blob_location)
        checked = check_backup(file)
        with open_database(settings, create=True) as url:
            restored = restore_backup(
                url, blobs, checked, replace_all=replace, floor_bytes=settings.min_free_bytes
            )
            is_new_key = _ensure_readable_key(url, settings.data_dir)
    console = make_console()
    console.print(
        f"Restored {_counts(restored.rows)} and {restored.n_blobs} stored files from {restored.created_at}."
    )
    if restored.n_requeued:
        console.print(f"{restored.n_requeued} tasks that were being learned wait for a worker.")
    if is_new_key:
        console.print(f"A new admin key is in {settings.data_dir / ADMIN_KEY_FILE}.")
    _warn_of_missing(restored.missing)


def doctor(
    data: DataOption = None,
    deep: Annotated[
        bool | None,
        typer.Option(help="Read and hash every stored file; below 1 GB unless told otherwise."),
    ] = None,
    collect_garbage: Annotated[
        bool, typer.Option("--collect", help="Then delete what nothing has referred to for a day.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check settings, database, rows, stored files, disk, Redis and workers. Exits with 1 if something is broken."""
    checks: list[Check] = []
    collected = None
    with _explained():
        settings = _settings(data)
        blobs = open_blob_store(settings.blob_location)
        checks += [Check("settings", "warn", warning) for warning in unknown_settings(os.environ)]
        checks.append(Check("settings", "ok", f"Read; blobs are in {settings.blob_location}."))
        with open_database(settings) as url:
            checks += inspect_installation(
                url,
                blobs,
                data_dir=settings.data_dir,
                min_free_bytes=settings.min_free_bytes,
                redis_url=settings.redis_dsn(),
                is_deep=deep,
            )
            if collect_garbage:
                collected = _collect(url, blobs)
    if as_json:
        print_json(
            {
                "checks": [vars(check) for check in checks],
                "collected": vars(collected) if collected else None,
            }
        )
    else:
        _print_checks(checks, collected)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what can go wrong into one sentence and exit code 1."""
    try:
        yield
    except BlobStoreUnavailableError as error:
        _fail(f"The blob store does not answer: {error.reason}")
    except (RegistryError, OSError) as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    make_console(stderr=True).print(sentence, style="red")
    sys.exit(1)


def _settings(data: Path | None) -> ServiceSettings:
    return ServiceSettings.read(**({} if data is None else {"data_dir": data}))


def _ensure_readable_key(url: str, data_dir: Path) -> bool:
    """Make an admin key unless the one in the data directory is valid, so that a restore locks nobody out."""
    file = data_dir / ADMIN_KEY_FILE
    text = file.read_text("utf-8").strip() if file.exists() else ""
    engine = make_engine(url, application_name="filopodia restore")
    try:
        with make_session_factory(engine).begin() as session:
            admin = keys.verify_key(text, keys.active_keys(session))
            if admin is not None and admin.role == "admin":
                return False
            day = datetime.now().astimezone().date()
            row, plaintext = keys.create_key(session, f"made by restore on {day}", "admin")
            details = {"name": row.name, "role": row.role}
            audit.record(session, None, "key.create", subject=row.id, details=details)
            data_dir.mkdir(parents=True, exist_ok=True)
            # Before the commit: a key nobody can read is of no use.
            write_private(file, plaintext + "\n")
    finally:
        engine.dispose()
    return True


def _collect(url: str, blobs: BlobStore) -> Collected:
    engine = make_engine(
        url, application_name="filopodia doctor", statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    try:
        return collect(make_session_factory(engine), blobs)
    finally:
        engine.dispose()


def _print_checks(checks: list[Check], collected: Collected | None) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        state = Text(check.state.upper() if check.state == "fail" else check.state)
        state.stylize(STYLES[check.state])
        table.add_row(check.name, state, check.detail)
    console = make_console()
    console.print(table)
    if collected is not None:
        size = megabytes(collected.size_bytes)
        console.print(f"Collected {collected.n_blobs} blobs and leftovers of {size}.")


def _counts(rows: dict[str, int]) -> str:
    return ", ".join(f"{rows.get(name, 0)} {name}" for name in ("learners", "tasks", "versions"))


def _warn_of_missing(missing: list[str]) -> None:
    if missing:
        make_console(stderr=True).print(
            f"{len(missing)} stored files are missing from the backup: {', '.join(missing[:3])} ...",
            style="yellow",
        )

"""`make openapi`: the HTTP contract as files, which `make check` compares with the app.

They are `docs/openapi.json` and the typed replies of the client, `service/remote/replies.py`.

python -m service.contract           writes them
python -m service.contract --check   exits with 1 if they are not what the app says
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from registry.blobs.store import LocalBlobStore
from registry.postgres.database import make_engine, make_session_factory
from service.app import create_app
from service.contract_replies import PYTHON_FILE, as_python
from service.settings import ServiceSettings

FILE = Path(__file__).parent.parent / "docs" / "openapi.json"


def main() -> None:
    """Write the files, or compare them."""
    contract = schema()
    for file, text in ((FILE, as_text(contract)), (PYTHON_FILE, as_python(contract))):
        if sys.argv[1:] != ["--check"]:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.exit(
                f"{file.name} is not what the app says: run `make openapi`, and look at the difference."
            )


def schema() -> dict[str, Any]:
    """Return the OpenAPI schema of an app that is never started: no database, no threads."""
    with tempfile.TemporaryDirectory(prefix="filopodia-openapi-") as folder:
        return unconnected_app(Path(folder)).openapi()


def unconnected_app(folder: Path) -> FastAPI:
    """Return an app whose database is nowhere."""
    engine = make_engine(
        "postgresql+psycopg://nowhere", application_name="filopodia-openapi", statement_timeout_s=1
    )
    settings = ServiceSettings(data_dir=folder, device="cpu")
    return create_app(settings, make_session_factory(engine), LocalBlobStore(folder / "blobs"))


def as_text(schema: dict[str, Any]) -> str:
    r"""Return a schema as it stands in the file: the same bytes for the same schema.

    Example:
        >>> as_text({"b": 1, "a": "é"})
        '{\n  "a": "é",\n  "b": 1\n}\n'
    """
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()

"""Two installations."""

import pytest
from sqlalchemy import create_engine, make_url, text

from registry.postgres.database import driver_url, migrate
from tests.service.routes.installations import Installation


@pytest.fixture
def here(database_url, tmp_path):
    installation = Installation(database_url, tmp_path / "here")
    with installation.client:
        yield installation
    installation.engine.dispose()


@pytest.fixture
def there(postgres, tmp_path):
    """Another installation: it shares nothing with the first one but the server its database lies on."""
    engine = create_engine(driver_url(postgres.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS bundles WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE bundles"))
    engine.dispose()
    url = make_url(postgres.url).set(database="bundles").render_as_string(hide_password=False)
    migrate(url)
    installation = Installation(url, tmp_path / "there")
    with installation.client:
        yield installation
    installation.engine.dispose()

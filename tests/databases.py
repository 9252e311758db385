"""A second database beside the one of the tests."""

from sqlalchemy import create_engine, make_url, text

from registry.postgres.database import driver_url
from registry.postgres.embedded import EmbeddedPostgres


def make_empty_database(postgres: EmbeddedPostgres, name: str) -> str:
    """Make a database without tables in place of what is called so, and return its URL."""
    engine = create_engine(driver_url(postgres.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(postgres.url).set(database=name).render_as_string()

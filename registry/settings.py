"""Where the registry keeps its rows and blobs, read from the environment."""

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from registry.logs import LogFormat


class RegistrySettings(BaseSettings):
    """Settings that service and worker share. Built once at the edge and passed down."""

    model_config = SettingsConfigDict(
        env_prefix="FILOPODIA_", env_ignore_empty=True, populate_by_name=True, frozen=True
    )

    data_dir: Path = Path("filopodia-data")
    """Folder of everything kept: embedded database, blobs, first key. Relative to the working directory."""

    log_format: LogFormat = "auto"
    """Logs on standard error: `json` for programs, every event an object; `text` for a person, only what went wrong and
    what learners answer with. `auto` is `text` on a terminal and `json` elsewhere."""

    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("database_url", "DATABASE_URL")
    )
    """`postgresql://user:password@host/database`. Without it the service starts its own in the data folder."""

    database_password_file: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("database_password_file", "DATABASE_PASSWORD_FILE"),
    )
    """File with the password to put into `DATABASE_URL`, so that it stands in no environment."""

    redis_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("redis_url", "REDIS_URL")
    )
    """`redis://host:6379/0`. With it workers are told of tasks through Celery; without, they poll the database."""

    redis_password_file: Path | None = Field(
        default=None, validation_alias=AliasChoices("redis_password_file", "REDIS_PASSWORD_FILE")
    )
    """File with the password to put into `REDIS_URL`."""

    ring_s: float = Field(default=5.0, gt=0)
    """Seconds until workers are told again of a task that none has taken up, and between two looks for such tasks."""

    blob_url: str | None = Field(
        default=None, validation_alias=AliasChoices("blob_url", "BLOB_URL")
    )
    """Where blobs lie: a folder, a `file:` URL, or `s3://bucket/prefix`, with the `AWS_` variables that
    boto3 reads (`AWS_ENDPOINT_URL` names a store other than Amazon's). Default: `blobs` in the data folder."""

    def database_dsn(self) -> str | None:
        """Return the database's URL with its password, or None if there is none.

        Raises:
            OSError: If the password's file cannot be read.
        """
        return _with_password(self.database_url, self.database_password_file)

    def redis_dsn(self) -> str | None:
        """Return the URL of Redis with its password, or None if there is none.

        Raises:
            OSError: If the password's file cannot be read.
        """
        return _with_password(self.redis_url, self.redis_password_file)

    @property
    def blob_location(self) -> str:
        """`blob_url`, or the default folder inside the data folder."""
        return self.blob_url or str(self.data_dir / "blobs")


def _with_password(url: SecretStr | None, file: Path | None) -> str | None:
    if url is None:
        return None
    if file is None:
        return url.get_secret_value()
    parts = urlsplit(url.get_secret_value())
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    host = parts.netloc.rpartition("@")[2]
    password = quote(file.read_text().strip(), safe="")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))

"""Where the registry keeps its rows and blobs, read from the environment."""

from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from registry.environment import explain, trimmed
from registry.logs import LogFormat
from registry.schedule import IDLE_S, IN_WORDS, PATTERN, Schedule

POSTGRESQL = ("postgresql", "postgres")
DEVICES = "auto, cpu, cuda, or cuda:1 and so on"
"""What a device may be, in words."""
REDIS = ("redis", "rediss", "unix")


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

    consolidate: str = Field(default="idle", pattern=PATTERN, description=IN_WORDS)
    """When what was learned is consolidated: `at_once`; when `idle`, that is when no task waits and the learner's last
    one is `FILOPODIA_CONSOLIDATE_IDLE_S` ago; within hours in UTC, such as `22:00-06:00`; `by_hand` alone; or `never`.
    Tasks go first whatever it says."""

    consolidate_idle_s: float = Field(default=IDLE_S, ge=0)
    """Seconds after a learner's last published task before what it learned is consolidated by itself."""

    blob_url: str | None = Field(
        default=None, validation_alias=AliasChoices("blob_url", "BLOB_URL")
    )
    """Where blobs lie: a folder, a `file:` URL, or `s3://bucket/prefix`, with the `AWS_` variables that
    boto3 reads (`AWS_ENDPOINT_URL` names a store other than Amazon's). Default: `blobs` in the data folder."""

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Return the settings of the environment, with those that are given in their place.

        Raises:
            SettingsError: If one is wrong; the message names its variable.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            problem = explain(cls, error)
        raise problem

    @field_validator("*", mode="before")
    @classmethod
    def _trim(cls, value: object, info: ValidationInfo) -> object:
        return trimmed(value, cls.model_fields[str(info.field_name)])

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            scheme = (
                "postgresql" if value is None else make_url(value.get_secret_value()).drivername
            )
        except (ArgumentError, ValueError):
            scheme = ""
        if scheme.partition("+")[0] not in POSTGRESQL:
            raise ValueError("a URL such as postgresql://user:password@host/database")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in REDIS:
            raise ValueError("a URL such as redis://host:6379/0")
        return value

    def database_dsn(self) -> str | None:
        """Return the database's URL with its password, or None if there is none.

        Raises:
            OSError: If the password's file cannot be read.
        """
        return with_password(self.database_url, self.database_password_file)

    def redis_dsn(self) -> str | None:
        """Return the URL of Redis with its password, or None if there is none.

        Raises:
            OSError: If the password's file cannot be read.
        """
        return with_password(self.redis_url, self.redis_password_file)

    @property
    def schedule(self) -> Schedule:
        """When consolidations may start by themselves."""
        return Schedule.parse(self.consolidate, self.consolidate_idle_s)

    @property
    def blob_location(self) -> str:
        """`blob_url`, or the default folder inside the data folder."""
        return self.blob_url or str(self.data_dir / "blobs")


def with_password(url: SecretStr | None, file: Path | None) -> str | None:
    """Return a URL with the password that is in a file, if there is one.

    Raises:
        OSError: If the file cannot be read.
    """
    if url is None:
        return None
    if file is None:
        return url.get_secret_value()
    parts = urlsplit(url.get_secret_value())
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    host = parts.netloc.rpartition("@")[2]
    password = quote(file.read_text().strip(), safe="")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))

"""Where the registry keeps its rows and blobs, read from the environment."""

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    """Settings that service and worker share. Built once at the edge and passed down."""

    model_config = SettingsConfigDict(env_prefix="FILOPODIA_", populate_by_name=True, frozen=True)

    data_dir: Path = Path("filopodia-data")
    """Folder of everything kept: embedded database, blobs, first key. Relative to the working directory."""

    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("database_url", "DATABASE_URL")
    )
    """`postgresql://user:password@host/database`. Without it the service starts its own in the data folder."""

    blob_url: str | None = Field(
        default=None, validation_alias=AliasChoices("blob_url", "BLOB_URL")
    )
    """Where blobs lie: a folder or a `file:` URL. Default: `blobs` in the data folder."""

    @property
    def blob_location(self) -> str:
        """`blob_url`, or the default folder inside the data folder."""
        return self.blob_url or str(self.data_dir / "blobs")

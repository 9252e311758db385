from pathlib import Path

from registry.settings import RegistrySettings


def test_defaults(monkeypatch):
    for name in ("FILOPODIA_DATA_DIR", "DATABASE_URL", "BLOB_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = RegistrySettings()
    assert settings.database_url is None
    assert settings.blob_location == str(Path("filopodia-data") / "blobs")


def test_reads_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FILOPODIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@host/db")
    monkeypatch.setenv("BLOB_URL", "file:///srv/blobs")
    settings = RegistrySettings()
    assert settings.data_dir == tmp_path
    assert settings.database_url.get_secret_value().endswith("@host/db")
    assert settings.blob_location == "file:///srv/blobs"
    assert "secret" not in repr(settings)

"""Settings as a person writes them into the environment, and what is said about one that is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.environment import Listed, unknown_settings
from registry.errors import SettingsError
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("FILOPODIA_ALLOWED_HOSTS", "example.org", ("example.org",)),
        (
            "FILOPODIA_ALLOWED_HOSTS",
            " Example.org:8443, [::1]:80,::1 ",
            ("example.org", "[::1]", "[::1]"),
        ),
        ("FILOPODIA_ALLOWED_HOSTS", '["example.org", "foo.org"]', ("example.org", "foo.org")),
        ("FILOPODIA_ALLOWED_HOSTS", "", ("*",)),
        ("FILOPODIA_FORWARDED_ALLOW_IPS", "10.0.0.1,10.0.0.2", ("10.0.0.1", "10.0.0.2")),
        ("FILOPODIA_FORWARDED_ALLOW_IPS", '["10.0.0.1"]', ("10.0.0.1",)),
        (
            "FILOPODIA_CORS_ORIGINS",
            "https://a.org, http://b.org:3000",
            ("https://a.org", "http://b.org:3000"),
        ),
        ("FILOPODIA_HTTPS_ONLY_COOKIE", "yes", True),
        ("FILOPODIA_HTTPS_ONLY_COOKIE", "On\r", True),
        ("FILOPODIA_KEEP_PREDICTION_IMAGES", "off", False),
        ("FILOPODIA_PORT", " 8080\r\n", 8080),
        ("FILOPODIA_ROOT_PATH", "filopodia/", "/filopodia"),
        ("FILOPODIA_ROOT_PATH", "/", ""),
        ("FILOPODIA_DATA_DIR", " two words,\udcff ", Path(" two words,\udcff ")),
    ],
)
def test_reads_what_people_write(monkeypatch, variable, text, value):
    monkeypatch.setenv(variable, text)
    assert getattr(ServiceSettings.read(), variable.removeprefix("FILOPODIA_").lower()) == value


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("FILOPODIA_PORT", "abc", 'a whole number from 0 to 65535, not "abc"'),
        ("FILOPODIA_PORT", "70000", "from 0 to 65535"),
        ("FILOPODIA_PORT", "8\udcff", "UTF-8"),
        ("FILOPODIA_HOST", "\udcff", "UTF-8"),
        ("FILOPODIA_ALLOWED_HOSTS", '["a"', "commas"),
        ("FILOPODIA_ALLOWED_HOSTS", '["a", 1]', "commas"),
        ("FILOPODIA_ALLOWED_HOSTS", "https://example.org/", "example.org"),
        ("FILOPODIA_CORS_ORIGINS", "example.org", "https://example.org"),
        ("FILOPODIA_CORS_ORIGINS", "https://example.org/path", "https://example.org"),
        ("FILOPODIA_ROOT_PATH", "/a b", "/filopodia"),
        ("FILOPODIA_ROOT_PATH", "//evil.example", "/filopodia"),
        ("FILOPODIA_WATCH_S", "0", "a number above 0"),
        ("FILOPODIA_WATCH_S", "nan", "a number above 0"),
        ("FILOPODIA_MAX_BATCH", "1.5", "a whole number of at least 1"),
        ("FILOPODIA_HTTPS_ONLY_COOKIE", "maybe", "yes or no"),
        ("FILOPODIA_DEVICE", "gpu", "auto, cpu, cuda"),
        ("DATABASE_URL", f"mysql://me:{SECRET}@host/x", "postgresql://user:password@host/database"),
        ("DATABASE_URL", f"me:{SECRET}@host", "postgresql://"),
        ("DATABASE_URL", f"postgresql://me:{SECRET}@host:port/x", "postgresql://"),
        ("REDIS_URL", f"http://:{SECRET}@host", "redis://host"),
    ],
)
def test_a_wrong_one_is_named_by_its_variable_in_one_line(monkeypatch, variable, text, says):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as caught:
        ServiceSettings.read()
    sentence = str(caught.value)
    assert sentence.startswith(f"{variable} must be ")
    assert says in sentence
    assert "\n" not in sentence
    assert SECRET not in sentence
    # Nor does a traceback show it.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_all_wrong_ones_are_named(monkeypatch):
    monkeypatch.setenv("FILOPODIA_SLOTS", "x")
    monkeypatch.setenv("FILOPODIA_LEASE_S", "-1")
    monkeypatch.setenv("FILOPODIA_WORKER_ID", "../x")
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.read()
    for name in ("FILOPODIA_SLOTS", "FILOPODIA_LEASE_S", "FILOPODIA_WORKER_ID"):
        assert f"{name} must be" in str(caught.value)


def test_a_url_with_the_short_scheme_is_good(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://me@host/x")
    assert ServiceSettings.read().database_dsn() == "postgres://me@host/x"


def test_every_list_can_be_written_plainly():
    for kind in (ServiceSettings, WorkerSettings):
        for name, field in kind.model_fields.items():
            if field.annotation in (tuple[str, ...], list[str], set[str], frozenset[str]):
                assert Listed.__metadata__[0] in field.metadata, name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("FILOPODIA_ALOWED_HOSTS", "FILOPODIA_ALLOWED_HOSTS"),
        ("FILOPODIA_DATADIR", "FILOPODIA_DATA_DIR"),
        ("FILOPODIA_CORS_ORIGIN", "FILOPODIA_CORS_ORIGINS"),
        ("FILOPODIA_EMBED_WORKER", "FILOPODIA_EMBEDDED_WORKER"),
        ("FILOPODIA_SPEED_OF_LIGHT", ".env.example"),
    ],
)
def test_a_slip_is_told_with_the_nearest_name(name, near):
    (sentence,) = unknown_settings(
        {name: "x", "FILOPODIA_PORT": "1", "PATH": "", "FILOPODIA_IMAGE": ""}
    )
    assert name in sentence
    assert near in sentence


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "service.cli.main", "serve"],
        ["-m", "service.main"],
        ["-m", "service.cli.main", "worker"],
        ["-m", "worker"],
        ["-m", "worker.local"],
        ["-m", "service.cli.main", "doctor"],
        ["-m", "service.cli.main", "backup", "x"],
    ],
    ids=" ".join,
)
def test_every_program_that_reads_it_says_so_and_ends_with_an_error(tmp_path, command):
    environment = os.environ | {
        "DATABASE_URL": f"mysql://me:{SECRET}@host/x",
        "FILOPODIA_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    output = done.stdout + done.stderr
    # `serve` starts that one, and must not start it again with the same settings.
    is_started_by_serve = command == ["-m", "worker.local"]
    assert done.returncode == (os.EX_CONFIG if is_started_by_serve else 1), output
    assert "DATABASE_URL must be a URL such as" in output
    assert "Traceback" not in output
    assert SECRET not in output
    assert not list(tmp_path.iterdir())

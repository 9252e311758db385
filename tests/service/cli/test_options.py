import json

import pytest
import typer

from registry.settings import RegistrySettings
from service.cli.options import DEFAULT_URL, Address, data_dir, find_address
from service.client import Filopodia
from service.remote.connection import is_loopback


@pytest.fixture
def data(tmp_path):
    (tmp_path / "admin.key").write_text("fil_here\n")
    (tmp_path / "service.json").write_text(json.dumps({"url": "http://127.0.0.1:9001", "pid": 1}))
    return tmp_path


def test_a_service_on_this_machine_is_found(data):
    assert find_address(None, None, data) == Address("http://127.0.0.1:9001", "fil_here")


def test_options_win(data):
    address = find_address("https://example.org", "fil_mine", data)
    assert address == Address("https://example.org", "fil_mine")


def test_the_admin_key_never_leaves_this_machine(data):
    with pytest.raises(typer.BadParameter, match="another machine"):
        find_address("https://example.org", None, data)


def test_an_address_without_a_scheme_says_so(data):
    with pytest.raises(typer.BadParameter, match="lacks a scheme"):
        find_address("127.0.0.1:8123", None, data)


@pytest.mark.parametrize(
    "key",
    [
        "fil_mine\n",
        "fil_mine\r\n",
        "\ufefffil_mine",
        ' "fil_mine" ',
        "'fil_mine'\n",
        '\ufeff"fil_mine"\r\n',
        "Bearer fil_mine",
        "\xa0fil_mine\t",
    ],
)
def test_what_stands_around_a_key_is_taken_away(data, key):
    assert find_address("http://10.0.0.1", key, data).key == "fil_mine"
    for encoding in ("utf-8", "utf-16"):
        (data / "admin.key").write_bytes(key.encode(encoding))
        assert find_address(None, None, data).key == "fil_mine"
    with Filopodia("http://127.0.0.1:1", key) as client:
        assert client._http.headers["Authorization"] == "Bearer fil_mine"


@pytest.mark.parametrize("key", ["fil_mine fil_other", "fil_m\nine", "fil_mïne", "fil_\udcff"])
def test_what_cannot_be_a_key_is_said_without_showing_it(data, key):
    with pytest.raises(typer.BadParameter, match="copy it again") as caught:
        find_address("http://10.0.0.1", key, data)
    assert key not in str(caught.value)
    with pytest.raises(ValueError, match="copy it again"):
        Filopodia("http://127.0.0.1:1", key)


@pytest.mark.parametrize("key", ["", " ", "\r\n", '""'])
def test_a_key_of_nothing_is_none(data, key):
    assert find_address(None, key, data).key == "fil_here"


def test_without_any_service_the_default_address_is_tried(tmp_path):
    assert find_address(None, "fil_mine", tmp_path).url == DEFAULT_URL


def test_without_a_key_the_user_learns_where_to_put_one(tmp_path):
    with pytest.raises(typer.BadParameter, match="--key"):
        find_address(None, None, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": 3}'])
def test_a_broken_service_file_is_ignored(tmp_path, content):
    (tmp_path / "service.json").write_text(content)
    assert find_address(None, "k", tmp_path).url == DEFAULT_URL


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"FILOPODIA_DATA_DIR": ""},
        {"FILOPODIA_DATA_DIR": "/srv/a folder, with % and +"},
        {"filopodia_data_dir": "lower"},
    ],
)
def test_the_data_directory_is_the_one_of_the_settings(environment, monkeypatch):
    monkeypatch.delenv("FILOPODIA_DATA_DIR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert data_dir() == RegistrySettings().data_dir


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"])
def test_loopback_addresses(url):
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://localhost.example.org", "nonsense"])
def test_other_addresses(url):
    assert not is_loopback(url)

"""IPv6 addresses that are reached by an interface of this machine: what `serve` announces works."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from service.cli.options import find_address
from service.client import Filopodia
from service.listening import url_of
from tests.service.remote.answering import Server, answering, ask_both


def local_addresses() -> list[str]:
    """Return this machine's addresses that need an interface, and its loopback with one."""
    addresses = Path("/proc/net/if_inet6")
    rows = (
        [line.split() for line in addresses.read_text().splitlines()] if addresses.exists() else []
    )
    found = []
    for digits, number, _, scope, _, name in rows:
        address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        if scope == "20":  # of a link
            found.append(f"{address}%{name}")
        elif address == "::1":
            found.append(f"{address}%{int(number, 16)}")
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    if not local_addresses():
        pytest.skip("this machine has no IPv6")
    with answering("::") as server:
        yield server


def test_a_service_is_reached_by_the_interface_that_its_address_names(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for address in local_addresses():
        announced = url_of(address, server.server_port)
        assert "%25" in announced
        server.hosts.clear()
        ask_both(announced)
        ask_both(announced.replace("%25", "%"))
        # The interface is ours: the service would not know its name.
        assert server.hosts == [f"[{address.partition('%')[0]}]:{server.server_port}"] * 4


@pytest.mark.parametrize("url", ["http://[fe80::1%25nowhere0]:8000", "http://[fe80::1%nowhere0]/x"])
def test_an_interface_that_is_not_there_is_named(url, tmp_path):
    with pytest.raises(ValueError, match="no network interface nowhere0"):
        Filopodia(url, "fil_x")
    with pytest.raises(typer.BadParameter, match="no network interface nowhere0"):
        find_address(url, "fil_x", tmp_path)

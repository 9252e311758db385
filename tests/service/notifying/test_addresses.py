"""Where messages may go: nowhere inside a network, but for what the operator names."""

from ipaddress import ip_address

import pytest

from service.notifying.addresses import (
    AddressRefusedError,
    Allowed,
    checked_addresses,
    is_public,
    resolve,
)

NOBODY = Allowed()

INSIDE = [
    "0.0.0.0",  # noqa: S104 (nothing is bound to it)
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.1.2.3",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:93.184.215.14",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:5db8:d70e::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "e000::1",
    "5f00::1",
]
OUTSIDE = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.167.255.255",
    "223.255.255.254",
    "2606:2800:21f::1",
    "2a00:1450:4001::1",
    "2620:fe::fe",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("text", INSIDE)
def test_nothing_inside_is_public(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_anybody_reaches_is_public(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "017700000001", "0", "::1"],
)
def test_every_spelling_of_this_machine_is_refused(host):
    with pytest.raises(AddressRefusedError, match="FILOPODIA_NOTIFY_ALLOW"):
        checked_addresses(host, 8080, NOBODY)


def answering(*addresses):
    return lambda host, port: list(addresses)


def test_a_name_that_leads_inside_is_refused():
    with pytest.raises(AddressRefusedError, match=r"nice.example.org \(10.0.0.7\)"):
        checked_addresses("nice.example.org", 443, NOBODY, answering("10.0.0.7"))


def test_one_address_inside_is_enough_to_refuse_a_name():
    with pytest.raises(AddressRefusedError):
        checked_addresses("two.example.org", 443, NOBODY, answering("93.184.215.14", "fd00::1"))


def test_a_zone_does_not_hide_an_address():
    with pytest.raises(AddressRefusedError):
        checked_addresses("x.example.org", 443, NOBODY, answering("fe80::1%eth0"))


@pytest.mark.parametrize(
    ("allowed", "host", "address", "is_let"),
    [
        ("192.168.1.20", "192.168.1.20", "192.168.1.20", True),
        ("192.168.1.20", "ha.example.org", "192.168.1.20", True),
        ("192.168.1.20", "192.168.1.21", "192.168.1.21", False),
        ("192.168.0.0/16", "nas", "192.168.7.7", True),
        ("192.168.1.20", "x", "::ffff:192.168.1.20", True),
        ("home.local", "home.local", "10.0.0.9", True),
        ("home.local", "HOME.local.", "10.0.0.9", True),
        ("home.local", "evil.home.local", "10.0.0.9", False),
        ("fd00::/8", "x", "fd12::1", True),
    ],
)
def test_the_operator_lets_messages_go_where_they_are_meant_to(allowed, host, address, is_let):
    def check():
        return checked_addresses(host, 25, Allowed.parse([allowed]), answering(address))

    if is_let:
        assert check() == [address]
    else:
        with pytest.raises(AddressRefusedError):
            check()


@pytest.mark.parametrize(("port", "is_let"), [(80, True), (443, True), (8443, True), (25, False)])
def test_ports_of_other_services_are_refused(port, is_let):
    if is_let:
        assert checked_addresses("x", port, NOBODY, answering("1.1.1.1")) == ["1.1.1.1"]
    else:
        with pytest.raises(AddressRefusedError, match="Port 25"):
            checked_addresses("x", port, NOBODY, answering("1.1.1.1"))


def test_a_name_that_leads_nowhere_is_an_error_of_its_own():
    with pytest.raises(OSError, match=r"no address"):
        checked_addresses("x", 80, NOBODY, answering())
    assert "127.0.0.1" in resolve("localhost", 80)

"""Where messages may go: to the public internet, and to what the operator names besides.

Whoever can subscribe could otherwise let the service knock at doors inside its own network. So the name of a receiver
is resolved once, all its addresses are looked at, and the connection is made to one of those.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

UNICAST = IPv6Network("2000::/3")
"""All that is handed out of IPv6."""
IPV4_INSIDE = IPv6Network("64:ff9b::/96")
"""An IPv4 address that is reached through a translator (RFC 6052)."""
NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # what Azure tells its machines
        "192.0.0.0/24",  # purposes of protocols, and what Oracle tells its machines
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # tunnels and other purposes of protocols
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
)
"""Besides what the standard library counts as not global."""
WEB_PORTS = (80, 443)
FIRST_FREE_PORT = 1024
"""Ports below are those of services that are no receivers of messages, but for the web's."""


class AddressRefusedError(Exception):
    """A receiver lies where no message may go. One sentence says why, and what to do."""


@dataclass(frozen=True)
class Allowed:
    """What messages may be sent to besides the public internet."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, items: Iterable[str]) -> "Allowed":
        """Read addresses, networks and names of hosts: what is neither of the first two is a name.

        Example:
            >>> allowed = Allowed.parse(["192.168.1.20", "fd00::/8", "Home.local"])
            >>> [str(network) for network in allowed.networks], sorted(allowed.names)
            (['192.168.1.20/32', 'fd00::/8'], ['home.local'])
        """
        networks, names = [], set()
        for item in items:
            try:
                networks.append(ip_network(item))
            except ValueError:
                names.add(item.lower().rstrip("."))
        return cls(tuple(networks), frozenset(names))

    def has(self, host: str, address: Address) -> bool:
        """Return whether the operator has named a host, or one of its addresses."""
        if host.lower().rstrip(".") in self.names:
            return True
        both = (address, _inner(address))
        return any(one in network for one in both if one is not None for network in self.networks)


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, in the order in which the system would try them.

    Raises:
        OSError: If it has none.
    """
    return _ask(host, port)


def literal_addresses(host: str, port: int) -> Sequence[str]:
    """Return the address that stands in a URL itself, however it is written; nobody is asked.

    Raises:
        OSError: If it is a name.

    Example:
        >>> literal_addresses("2130706433", 80), literal_addresses("0x7f.1", 80)
        (['127.0.0.1'], ['127.0.0.1'])
    """
    return _ask(host, port, socket.AI_NUMERICHOST)


def _ask(host: str, port: int, flags: int = 0) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:  # a part of the name is empty or too long
        raise OSError(host) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(
    host: str, port: int, allowed: Allowed, ask: Resolve = resolve
) -> Sequence[str]:
    """Return the addresses of a host that a message may be sent to: all of them, or none.

    Args:
        host: Name or address, as in a URL but for brackets.
        port: Of the receiver.
        allowed: What the operator allows.
        ask: Finds the addresses, once.

    Raises:
        AddressRefusedError: If one of them lies where no message may go.
        OSError: If there are none.
    """
    addresses = ask(host, port)
    if not addresses:
        raise OSError(f"no address of {host}")
    for text in addresses:
        address = ip_address(text.partition("%")[0])
        if allowed.has(host, address):
            continue
        if not is_public(address):
            shown = host if host == text else f"{host} ({text})"
            raise AddressRefusedError(
                f"{shown} is not in the public internet. If messages are meant to go there, the operator adds it to "
                "FILOPODIA_NOTIFY_ALLOW."
            )
        if port not in WEB_PORTS and port < FIRST_FREE_PORT:
            raise AddressRefusedError(
                f"Port {port} of {host} is not one that takes messages: use 80, 443 or one from 1024 on, or let the "
                "operator add the host to FILOPODIA_NOTIFY_ALLOW."
            )
    return addresses


def is_public(address: Address) -> bool:
    """Return whether an address lies in the public internet, as the IPv4 address inside it does if there is one.

    Example:
        >>> is_public(ip_address("93.184.215.14")), is_public(ip_address("2606:2800:21f::1"))
        (True, True)
        >>> [is_public(ip_address(text)) for text in ("10.0.0.1", "100.64.0.1", "::ffff:127.0.0.1", "169.254.169.254")]
        [False, False, False, False]
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return False  # no name has such an address by right
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, IPv6Address) and address not in UNICAST:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in NOT_PUBLIC)
    )


def _inner(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that is reached through an IPv6 one."""
    if not isinstance(address, IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in IPV4_INSIDE else None

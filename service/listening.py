"""What a start needs before all else: settings that fit, a data directory, and a place to listen, which has a name.

Nothing is imported here that takes long to load: a port in use is told before PyTorch is waited for.
"""

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from registry.data_dir import prepare_data_dir
from registry.environment import unknown_settings
from registry.errors import RegistryError
from registry.logs import configure_logging
from service.settings import ServiceSettings

log = structlog.get_logger(__name__)

UNSENT_BYTES = 128 * 1024
"""What the kernel takes of an answer before the peer has room for it."""
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


@contextmanager
def ready_to_serve() -> Iterator[tuple[ServiceSettings, socket.socket]]:
    """Yield the settings of the environment and the place to listen at; serve in the block.

    What keeps a service from starting, in the block too, is logged in a sentence and ends the process with 1.
    """
    configure_logging()
    try:
        settings = ServiceSettings.read()
        for sentence in unknown_settings(os.environ):
            log.warning("unknown_setting", reason=sentence)
        prepare_data_dir(settings.data_dir)
        # Before the database: a port in use must not cost its start.
        with listening(settings) as listener:
            yield settings, listener
    except (RegistryError, OSError) as error:
        log.error("not_started", reason=str(error))
        sys.exit(1)


@contextmanager
def listening(settings: ServiceSettings) -> Iterator[socket.socket]:
    """Hold the address of the settings while the block runs. Nothing is accepted there yet.

    Raises:
        OSError: If it cannot be had; the message is for the user.
    """
    host = _bare(settings.host)
    try:
        # Of a name with several addresses the one of IPv4, which more clients can reach.
        addresses = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = min(addresses, key=lambda info: info[0] != socket.AF_INET)
    except (OSError, UnicodeError) as error:
        raise _no_place(settings, "no such address") from error
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it. Without, an answer's body waits 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Without, the kernel takes megabytes that nobody reads, and we would not know.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        try:
            listener.bind(address)
        except OSError as error:
            raise _no_place(settings, error.strerror or "no such address") from error
        yield listener


def url_of(host: str, port: int) -> str:
    """Return the URL at which a service that listens on `host` is reached from its own machine.

    Example:
        >>> url_of("::1", 8000), url_of("0.0.0.0", 80), url_of("::", 80), url_of("fe80::1%eth0", 80)
        ('http://[::1]:8000', 'http://127.0.0.1:80', 'http://[::1]:80', 'http://[fe80::1%25eth0]:80')
        >>> url_of("example.org", 8000)
        'http://example.org:8000'
    """
    return f"http://{_in_url(_bare(host))}:{port}"


def _bare(host: str) -> str:
    """Return a host without the brackets that some write around IPv6 addresses."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _in_url(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name, or an old way to write IPv4
        return _LOOPBACK[4] if host == "0" else host
    shown = _LOOPBACK[address.version] if address.is_unspecified else host
    # The sign before the scope of an address means something else in a URL: RFC 6874.
    return f"[{shown.replace('%', '%25')}]" if address.version == 6 else shown


def _no_place(settings: ServiceSettings, reason: str) -> OSError:
    host = _bare(settings.host)
    shown = f"[{host}]" if ":" in host else host
    return OSError(
        f"Nothing can listen on {shown}:{settings.port} ({reason}): "
        "stop what uses it, or set FILOPODIA_PORT."
    )

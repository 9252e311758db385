import socket

import pytest

from service.listening import listening, url_of
from service.settings import ServiceSettings


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("localhost", socket.AF_INET),
        ("0.0.0.0", socket.AF_INET),  # noqa: S104 (for a moment)
        ("::1", socket.AF_INET6),
        ("[::1]", socket.AF_INET6),
        ("::", socket.AF_INET6),
        ("0:0:0:0:0:0:0:0", socket.AF_INET6),
    ],
)
def test_what_is_announced_is_where_it_listens(host, family):
    if family == socket.AF_INET6 and not socket.has_ipv6:
        return
    with listening(ServiceSettings(host=host, port=0)) as listener:
        assert listener.family == family
        listener.listen()
        port = listener.getsockname()[1]
        reached = url_of(host, port).removeprefix("http://").rpartition(":")[0].strip("[]")
        with socket.create_connection((reached, port)):
            pass


@pytest.mark.parametrize(
    "host", ["no.such.host.invalid", "::g", "192.0.2.1", "x" * 70 + ".invalid", "a..b"]
)
def test_a_place_that_is_none_is_told_in_a_sentence(host):
    with (
        pytest.raises(OSError, match=r"^Nothing can listen on .*: stop what uses it, or set"),
        listening(ServiceSettings(host=host, port=0)),
    ):
        pass

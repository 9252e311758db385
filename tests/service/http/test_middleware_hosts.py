"""Names that the service answers to; health is told under whatever name it is asked."""

import socket
from urllib.parse import urlsplit

import pytest

from service.app import create_app
from tests.served import served
from tests.waiting import PACE

HEALTH = ("/livez", "/readyz")
BY_BALANCERS = (
    "GET {path} HTTP/1.0\r\n\r\n",
    "GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: 10.0.0.7:8000\r\nConnection: close\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
)
"""HAProxy asks without a name, Kubernetes by the pod's address."""


@pytest.fixture
def site(settings, session_factory, blobs, role_keys):
    """A service that is known by one name."""
    named = settings.model_copy(update={"allowed_hosts": ("birds.example.org",)})
    with served(create_app(named, session_factory, blobs)) as url:
        yield urlsplit(url)


def status_of(site, request):
    with socket.create_connection(
        (site.hostname, site.port), timeout=PACE.scaled(30)
    ) as connection:
        connection.sendall(request.encode())
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("request_of", BY_BALANCERS)
def test_health_is_told_to_who_does_not_know_the_name(site, request_of):
    assert {status_of(site, request_of.format(path=path)) for path in HEALTH} <= {200, 503}


@pytest.mark.parametrize("request_of", BY_BALANCERS)
@pytest.mark.parametrize("path", ["/v1/info", "/admin/login", "/readyz/", "/v1/learners"])
def test_all_else_is_not(site, request_of, path):
    assert status_of(site, request_of.format(path=path)) == 400


def test_the_name_is_answered_to(site):
    asked = "GET /v1/info HTTP/1.1\r\nHost: birds.example.org\r\nConnection: close\r\n\r\n"
    assert status_of(site, asked) == 200

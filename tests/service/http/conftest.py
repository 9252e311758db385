"""Somebody without a key."""

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def stranger(client, app):
    return TestClient(app, raise_server_exceptions=False)

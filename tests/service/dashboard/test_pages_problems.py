"""Errors on the way to a page are the problems that they are in the API."""

import pytest

from registry.errors import BlobDamagedError, BlobMissingError, LearnerNotFoundError, RegistryError
from service.dashboard.pages import as_problem

SHA256 = "5" * 64


class InnerError(RegistryError):
    """One that nobody was meant to see."""

    code = "inner"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BlobMissingError(SHA256), 503, "version-damaged"),
        (BlobDamagedError(SHA256), 503, "blob-damaged"),
        (LearnerNotFoundError("birds"), 404, "learner-not-found"),
        (InnerError(SHA256), 500, "internal"),
        (ValueError(SHA256), 500, "internal"),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_an_error_is_the_same_problem_as_in_the_api(error, status, code):
    problem = as_problem(error)
    assert (problem.status_code, problem.code) == (status, code)
    assert SHA256 not in problem.detail

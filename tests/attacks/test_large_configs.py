"""Numbers of hyperparameters that would keep a worker busy for ever, or fill its memory."""

import httpx
import pytest

from tests.attacks.neighbour import Neighbour, harmless, require_unharmed

pytestmark = pytest.mark.timed(group="attacks and load")

HUGE = (10**9, 10**12, 2**31, 1e300)


def numbers(schema):
    """Yield each number of a strategy's configuration, and the most it may be."""
    for name, told in schema["properties"].items():
        for part in (told, *told.get("anyOf", ())):
            if part.get("type") in ("integer", "number"):
                yield name, part["type"], part["maximum"]


@harmless
def test_no_number_is_accepted_beyond_its_bound(service):
    strategies = service.client.get("/v1/strategies").json()["items"]
    n_asked = 0
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(2.0)
        with neighbour.watching(2.0) as attacked:
            for strategy in strategies:
                for name, kind, most in numbers(strategy["config_schema"]):
                    for value in HUGE:
                        if value <= most or (kind == "integer" and value != int(value)):
                            continue
                        n_asked += 1
                        body = {
                            "name": "huge",
                            "strategy": strategy["name"],
                            "backbone": "tiny",
                            "config": {name: int(value) if kind == "integer" else value},
                        }
                        answer = service.client.post("/v1/learners", json=body)
                        assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, (name, value)
                        problem = answer.json()
                        assert problem["code"] == "invalid-config"
                        assert name in problem["errors"][0]["pointer"] + problem["detail"]
        require_unharmed(attacked, quiet, neighbour.watch(2.0))
    assert n_asked > 100
    assert service.client.get("/v1/learners/huge").status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize(("name", "most"), [("epochs", 1000), ("bottleneck", 1024)])
def test_the_refusal_says_what_it_may_be_and_why(service, name, most):
    body = {"name": "huge", "strategy": "artsy", "backbone": "tiny", "config": {name: most + 1}}
    detail = service.client.post("/v1/learners", json=body).json()["detail"]
    assert detail.startswith(f"{name} must be a number from 1 to {most}: ")

"""`filopodia predict` with folders of photos that are too much work to decode in one request."""

import json
import time

import httpx
import pytest

from tests.factories import make_image
from tests.service.intake.weighing import work

PHOTOS = {f"{i:02d}.png": make_image("heron", i, size=200) for i in range(20)}
HUGE = make_image("heron", 1, size=480)
A_MINUTE = 0.95
"""Share of the photos that a key may have decoded in a minute."""
REFUSED = 'filopodia_requests_total{method="POST",route="/v1/learners/{name}/predictions",status='


@pytest.fixture
def settings(settings):
    """A service that decodes two of the photos at a time, and nearly all of them in a minute; not the huge one."""
    works = [work(data) for data in PHOTOS.values()]
    most = 2.5 * max(works)
    assert work(HUGE) > most
    return settings.model_copy(
        update={
            "max_predict_images": 16,
            "max_predict_pixels": int(most),
            "predict_pixels_per_minute": int(A_MINUTE * sum(works)),
        }
    )


@pytest.fixture
def photos(tmp_path):
    """A folder of photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in PHOTOS.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def answers_of(address, role_keys):
    """Returns a function that says how many predictions ended with a status."""

    def run(status):
        headers = {"Authorization": f"Bearer {role_keys['reader']}"}
        text = httpx.get(f"{address}/metrics", headers=headers, trust_env=False).text
        found = [line for line in text.splitlines() if f'{REFUSED}"{status}"' in line]
        return sum(float(line.split()[-1]) for line in found)

    return run


def test_a_folder_is_answered_in_requests_as_large_as_the_service_takes_and_waits_as_told(
    run, known_birds, photos, answers_of, asked
):
    started = time.monotonic()
    result = run("predict", known_birds, photos)
    took_s = time.monotonic() - started
    assert result.exit_code == 0, result.output
    assert "20 of 20 images answered by version 1, 20 heron" in result.output
    assert asked(10) == [2] * 10
    # 16, 8, 4 and 4, 8, 4 and 4: what was found with the first sixteen holds for the others.
    assert answers_of(413) == 7
    # The last ones were more than the key has in a minute, until it had waited, or had taken as long anyway.
    assert answers_of(429) >= 1 or took_s > 60 * (1 - A_MINUTE)
    assert took_s > 0.9 * 60 * (1 - A_MINUTE)


def test_one_that_is_too_much_alone_is_named_and_the_others_answered(run, known_birds, photos):
    (photos / "05b.png").write_bytes(HUGE)
    result = run("predict", known_birds, photos / "05.png", photos / "05b.png", photos / "06.png")
    assert result.exit_code == 1
    assert "Decoding the image is more work than the service takes" in result.output
    table = run("predict", known_birds, photos, "--json")
    results = {item["filename"]: item for item in json.loads(table.output)["results"]}
    assert table.exit_code == 1
    assert results["05b.png"]["problem"]["code"] == "too-many-pixels"
    assert {item.get("label") for name, item in results.items() if name != "05b.png"} == {"heron"}

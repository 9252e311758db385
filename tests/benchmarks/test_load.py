"""The load itself: a short one is held by a real service, and its judges see what is broken."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.crowds import Crowd, Plan, RequestRecord
from benchmarks.load.judging import MAX_WAIT_S, Observations, judge, latency
from benchmarks.load.profiles import QUICK
from benchmarks.load.sampling import Sample, trend
from benchmarks.load.wire import Address, Connection, Reply
from benchmarks.sections.held import held
from tests.waiting import PACE

PROBLEM = {"content-type": "application/problem+json"}


@pytest.mark.slow
@pytest.mark.timed(group="attacks and load")
@pytest.mark.timeout(600)
def test_a_short_load_is_held(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    pace = f"{PACE.factor:.2f}"
    command = [sys.executable, "-m", "benchmarks.load", "--profile", "quick", "--pace", pace]
    run = subprocess.run(
        [*command, "--out", str(file)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
    report = json.loads(file.read_text())
    # A load that was not there would prove nothing.
    assert report["clients"]["predict"]["admitted"] >= 100
    assert report["tasks"]["succeeded"] >= QUICK.uploads
    assert report["held"]["watchers"]["max"] >= QUICK.streams / 2
    assert report["held"]["tricklers"]["max"] >= 1
    assert "all promises kept" in "\n".join(held("load", report).text)


def asked(what: str, outcome: str = "ok", seconds: float = 0.1, **more: Any) -> RequestRecord:
    return RequestRecord(what, 0.0, seconds, 0.0, more.pop("status", 200), outcome, **more)


def samples(n: int = 40, grows_mib: float = 0.0, grows_descriptors: float = 0.0) -> list[Sample]:
    return [
        Sample(i, 800 + grows_mib * i, 900 + grows_descriptors * i, 20, 0.5 * i) for i in range(n)
    ]


SUCCEEDED = {"status": "succeeded", "version": 3, "error": None, "finished_at": "then"}


def seen(**more: Any) -> Observations:
    """A load of which nothing is to be said but what `more` tells."""
    now = Sample(0, 800, 13, 13, 0)
    fine = Observations(
        asked=[asked("predict"), asked("upload", status=202), asked("stream")],
        uploads=[{"key": "k", "learner": "l", "tasks": ["t"], "tries": 1, "refusal": None}],
        ended={"t": SUCCEEDED},
        samples=samples(),
        before=now,
        after=now,
        held={"watchers": [QUICK.streams]},
    )
    return replace(fine, **more)


def broken(found: Observations) -> list[str]:
    return [verdict.name for verdict in judge(found, QUICK, 1.0) if not verdict.is_kept]


class TestJudges:
    def test_a_load_that_was_held_is_fine(self) -> None:
        assert broken(seen()) == []

    def test_honest_refusals_are_fine_while_half_is_admitted(self) -> None:
        refused = asked("predict", "refused", status=503)
        fine = asked("predict")
        rest = [asked("upload", status=202)]
        assert broken(seen(asked=[fine, refused, *rest])) == []
        assert broken(seen(asked=[fine, refused, refused, *rest])) == [
            "at least 50% of the predictions are admitted"
        ]

    @pytest.mark.parametrize(
        ("one", "promise"),
        [
            (asked("predict", "timeout", status=0), "no prediction times out"),
            (asked("predict", "closed (EOFError)", status=0), "a prediction is admitted"),
            (asked("predict", "503, no Retry-After", status=503), "a prediction is admitted"),
            (asked("neighbour", "500", status=500), "no answer is a 5xx"),
            (asked("slow, no key", "500, not honest", status=500), "no answer is a 5xx"),
            (asked("predict", seconds=MAX_WAIT_S + 2.1), "an answer comes within MAX_WAIT_S"),
            (asked("upload", "closed (EOFError)", status=0), "an upload is accepted, or refused"),
            (asked("stream", "events out of order"), "an event stream comes in order"),
            (asked("stream", "ended after progress"), "an event stream comes in order"),
        ],
    )
    def test_one_bad_request_is_noticed(self, one: RequestRecord, promise: str) -> None:
        observations = seen()
        assert any(
            name.startswith(promise)
            for name in broken(replace(observations, asked=[*observations.asked, one]))
        )

    def test_waiting_of_the_client_itself_is_not_held_against_the_service(self) -> None:
        late = replace(asked("predict", seconds=MAX_WAIT_S + 4), lag_s=3.0)
        assert broken(seen(asked=[late])) == []

    @pytest.mark.parametrize(
        "task",
        [
            None,
            {"status": "queued", "version": None, "error": None},
            {"status": "succeeded", "version": None, "error": None},
            {"status": "failed", "version": None, "error": {"code": "internal", "detail": ""}},
            {"status": "cancelled", "version": None, "error": None},
        ],
    )
    def test_a_task_that_does_not_end_as_it_should_is_noticed(self, task: Any) -> None:
        ended = {} if task is None else {"t": task}
        assert broken(seen(ended=ended)) == [
            "an acknowledged task ends in a version or an explained failure"
        ]

    def test_an_explained_failure_is_an_end(self) -> None:
        error = {"code": "worker-lost", "detail": "The worker was lost."}
        assert (
            broken(seen(ended={"t": {"status": "failed", "version": None, "error": error}})) == []
        )

    @pytest.mark.parametrize(
        ("tasks", "refusal"), [([], "never accepted"), (["t", "u"], None), ([], "422 b''")]
    )
    def test_an_upload_that_is_not_one_task_is_noticed(
        self, tasks: list[str], refusal: Any
    ) -> None:
        upload = {"key": "k", "learner": "l", "tasks": tasks, "tries": 2, "refusal": refusal}
        observations = seen(uploads=[upload], ended={"t": SUCCEEDED, "u": SUCCEEDED})
        assert broken(observations) == ["every upload is accepted in the end, once"]

    def test_two_uploads_of_one_task_are_noticed(self) -> None:
        upload = {"key": "k", "learner": "l", "tasks": ["t"], "tries": 1, "refusal": None}
        observations = seen(uploads=[upload, {**upload, "key": "m"}])
        assert broken(observations) == ["every upload is accepted in the end, once"]

    def test_memory_and_descriptors_that_grow_are_noticed(self) -> None:
        assert broken(seen(samples=samples(grows_mib=4))) == ["rss_mib is flat under load"]
        assert broken(seen(samples=samples(grows_descriptors=8))) == [
            "descriptors is flat under load"
        ]

    def test_descriptors_that_stay_behind_are_noticed(self) -> None:
        after = Sample(0, 800, 90, 13, 0)
        assert broken(seen(after=after)) == [
            "descriptors and threads go back once everybody has gone"
        ]

    def test_a_load_that_was_not_there_is_noticed(self) -> None:
        assert broken(seen(held={"watchers": [1]})) == [
            "at least 50% of the event streams are held"
        ]
        assert "at least 50% of the predictions are admitted" in broken(seen(asked=[]))
        assert "memory, descriptors and threads are flat" in broken(seen(samples=[]))


def test_one_spike_at_the_end_is_no_growth() -> None:
    values = [100.0] * 35 + [400.0] * 5
    assert trend(range(40), values, share=0.05, least=1).is_flat
    rising = [100.0 + i for i in range(40)]
    assert trend(range(40), rising, share=0.05, least=1).grown == pytest.approx(20)


def test_percentiles_are_of_what_was_admitted() -> None:
    found = latency([asked("predict", seconds=1.0), asked("predict", "timeout", seconds=60.0)])
    assert (found["asked"], found["admitted"], found["max_ms"]) == (2, 1, 1000.0)


@pytest.mark.parametrize(
    ("status", "headers", "is_honest"),
    [
        (503, {**PROBLEM, "retry-after": "1"}, True),
        (429, {**PROBLEM, "retry-after": "10"}, True),
        (503, PROBLEM, False),
        (503, {"content-type": "text/plain", "retry-after": "1"}, False),
        (500, {**PROBLEM, "retry-after": "1"}, False),
    ],
)
def test_a_refusal_says_what_and_when(
    status: int, headers: dict[str, str], is_honest: bool
) -> None:
    assert Reply(status, headers).is_refusal == is_honest


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class TestWire:
    """Against a server that closes where we like."""

    def asked_of(self, *scripts: list[bytes | None]) -> list[RequestRecord]:
        """Ask twice a server whose n-th connection answers by the n-th script; None closes it."""

        async def go() -> list[RequestRecord]:
            left = list(scripts)

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                for answer in left.pop(0):
                    if answer is None:
                        break
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(answer)
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            plan = Plan("x", f"http://127.0.0.1:{port}", ["k"], ["l"], 1, 0.1, 0.1, 1, 1.0, "")
            crowd = Crowd(plan)
            connection = Connection(Address("127.0.0.1", port))
            for _ in range(2):
                await crowd.ask("predict", connection, ("GET", "/", crowd.key(0), b""))
            connection.close()
            server.close()
            return crowd.asked

        return asyncio.run(go())

    def test_both_answers_on_one_connection(self) -> None:
        assert [one.outcome for one in self.asked_of([ANSWER, ANSWER])] == ["ok", "ok"]

    def test_a_kept_connection_that_was_closed_is_opened_again(self) -> None:
        assert [one.outcome for one in self.asked_of([ANSWER], [ANSWER])] == ["ok", "ok"]

    def test_a_fresh_connection_that_is_closed_is_noticed(self) -> None:
        found = self.asked_of([None], [ANSWER])
        assert found[0].outcome.startswith("closed")
        assert found[1].outcome == "ok"

    def test_an_answer_cut_short_is_noticed(self) -> None:
        found = self.asked_of([ANSWER[:-1], None], [ANSWER[:-1], None])
        assert all(one.outcome.startswith("closed") for one in found)

    def test_a_body_in_chunks_is_read_whole(self) -> None:
        head = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n"
        found = self.asked_of([head + b"2\r\nok\r\n0\r\n\r\n", ANSWER])
        assert [one.outcome for one in found] == ["503, no problem document, no Retry-After", "ok"]

"""Whether the judge of prediction jobs sees what is broken: jobs of a real queue, each wrong in one way."""

import zipfile
from dataclasses import replace
from io import BytesIO
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from benchmarks.chaos import checker, judged_jobs, measures
from benchmarks.chaos.insisting import Operation, PredictedLabel
from benchmarks.chaos.jobs import JobLog, JobSeen, file_name, job_picture, post_job
from benchmarks.chaos.judged_jobs import Question, StoredJobs
from registry import idempotency, learners, prediction_jobs, stored_images, tasks
from registry.blobs.store import LocalBlobStore
from registry.prediction_jobs import JobAnswer
from registry.samples import NewSample, add_samples
from registry.stored_images import NewJobImage, StoredImages
from registry.tables import IdempotencyRow, PredictionJobImageRow, PredictionJobRow, TaskRow
from tests.factories import make_job

LOST = "acknowledged prediction jobs are there, with every image"
PARTIAL = "unanswered prediction jobs are there wholly or not at all"
ONCE = "one prediction job an idempotency key"
ENDED = "every prediction job has ended, explained if it failed"
COUNTED = "an image of a prediction job is answered once, and counted once"
FORWARD = "a prediction job only goes forward"
SAME = "a job posted again is the same job"
REFUSED = "no prediction job is refused"
ANSWERED = "an image of a prediction job is answered as its version answers"
SENT = [7, 3, 5]
SCORE = 0.75


def add_job(session: Session, blobs: LocalBlobStore, key: str, images: list[NewJobImage]) -> str:
    """Queue a job as a post with a key does, and return its id."""
    learner = learners.get_learner(session, "l")
    source = "upload" if images[0].sample_id is None else "samples"
    idempotency.begin(session, "k POST /v1/learners/l/prediction-jobs", key, "00")
    job = make_job(session, blobs, learner, images, source=source, key_id="k")
    idempotency.finish(
        session,
        "k POST /v1/learners/l/prediction-jobs",
        key,
        status_code=202,
        headers={},
        body={"id": job.id},
    )
    return job.id


def answer_all(session: Session) -> None:
    """Answer every image of every job: every second one looks like no class."""
    while (job := prediction_jobs.claim_next(session, 60)) is not None:
        waiting = prediction_jobs.waiting_images(session, job.id, limit=100)
        answers = [
            JobAnswer(one.index, {"label": "a", "score": SCORE, "known": one.index % 2 == 0})
            for one in waiting
        ]
        prediction_jobs.give_back(session, job, answers)


class Found:
    """What a poster did and what is kept of it."""

    def __init__(self, session: Session, blobs: LocalBlobStore, log: JobLog) -> None:
        self.session, self.blobs, self.log = session, blobs, log

    @property
    def kept(self) -> StoredJobs:
        self.session.expire_all()
        return judged_jobs.read_jobs(self.session)

    @property
    def sent(self) -> str:
        """The job of pictures that were sent."""
        return self.log.operations[0].answer["id"]

    @property
    def stored(self) -> str:
        """The job over samples."""
        return self.log.operations[1].answer["id"]

    def change(self, job_id: str, index: int | None = None, **values: Any) -> None:
        """Alter a job's row, or that of an image of it."""
        if index is None:
            one = update(PredictionJobRow).where(PredictionJobRow.id == job_id)
        else:
            one = update(PredictionJobImageRow).where(
                PredictionJobImageRow.job_id == job_id, PredictionJobImageRow.index == index
            )
        self.session.execute(one.values(**values))

    def expected(self) -> dict[Question, PredictedLabel]:
        rows = checker.read_rows(self.session)
        asked = judged_jobs.questions(self.log, self.kept, rows)
        return {question: PredictedLabel(0, "a", SCORE) for question in asked}

    def broken(self, expected: dict[Question, PredictedLabel] | None = None) -> list[str]:
        """Return the names of the promises that were broken."""
        kept, rows = self.kept, checker.read_rows(self.session)
        verdicts = [
            *judged_jobs.check_posts(self.log.operations, kept, rows, self.blobs),
            *judged_jobs.check_ends(self.log, kept),
            judged_jobs.check_answers(
                self.log, kept, rows, self.expected() if expected is None else expected
            ),
        ]
        return [verdict.name for verdict in verdicts if not verdict.is_kept]


@pytest.fixture
def found(session: Session, blobs: LocalBlobStore) -> Found:
    """A learner with two samples, and two jobs that have been answered: of three pictures, and of the samples."""
    learners.create_learner(
        session, "l", strategy="simplecil", backbone="tiny", config={}, halved_to=288
    )
    task = tasks.add_task(
        session,
        "l",
        name="task",
        mode="new_classes",
        options={},
        config={},
        seed=0,
        classes=["a", "b"],
        n_train=2,
        n_eval=0,
    )
    hashes = blobs.put_many([job_picture(100), job_picture(101)])
    new = [
        NewSample(
            label=label, split="train", blob_sha256=sha256, filename=None, width=24, height=24
        )
        for label, sha256 in zip("ab", hashes, strict=True)
    ]
    add_samples(session, task.id, new, blobs)
    session.execute(update(TaskRow).values(status="succeeded", finished_at=TaskRow.created_at))
    sent = [
        NewJobImage(file_name("job-1", index), blob_sha256=sha256)
        for index, sha256 in enumerate(blobs.put_many([job_picture(n) for n in SENT]))
    ]
    first = add_job(session, blobs, "job-1", sent)
    learner_id = learners.get_learner(session, "l").id
    taught = stored_images.find_taught(session, learner_id, StoredImages(), limit=10)
    second = add_job(session, blobs, "job-2", taught)
    answer_all(session)
    later = task.created_at.timestamp() + 100
    operations = [
        Operation("job", "job-1", later, {"learner": "l", "source": "form", "pictures": SENT}),
        Operation("job", "job-2", later, {"learner": "l", "source": "samples", "pictures": []}),
    ]
    for one, job_id in zip(operations, (first, second), strict=True):
        one.outcome, one.answer = "ok", {"id": job_id}
    seen = [JobSeen(first, "running", 1), JobSeen(first, "succeeded", 3)]
    return Found(session, blobs, JobLog(operations, seen, [("job-1", first, first)]))


def test_what_went_well_is_fine(found: Found) -> None:
    assert found.broken() == []
    figures = measures.prediction_jobs(found.log, found.kept)
    assert (figures["acknowledged"], figures["images_answered"]) == (2, 5)
    assert (figures["succeeded"], figures["claimed_again"]) == (2, 0)


class TestPosts:
    def test_a_lost_job_is_noticed(self, found: Found) -> None:
        found.session.execute(delete(PredictionJobRow).where(PredictionJobRow.id == found.sent))
        assert found.broken() == [LOST]

    def test_a_job_of_another_key_is_noticed(self, found: Found) -> None:
        body = {"id": found.stored}
        found.session.execute(
            update(IdempotencyRow).where(IdempotencyRow.key == "job-1").values(body=body)
        )
        assert LOST in found.broken()

    def test_a_lost_image_is_noticed(self, found: Found) -> None:
        of_sent = PredictionJobImageRow.job_id == found.sent
        found.session.execute(
            delete(PredictionJobImageRow).where(of_sent, PredictionJobImageRow.index == 2)
        )
        assert found.broken() == [LOST, COUNTED]
        # Nor does it help that the job has never heard of it.
        counts = {"n_images": 2, "n_done": 2, "n_unknown": 1}
        found.change(found.sent, **counts)
        found.log.seen.clear()
        assert found.broken() == [LOST]

    def test_an_unanswered_job_may_be_there_or_not_but_not_in_part(self, found: Found) -> None:
        one = found.log.operations[0]
        one.outcome, one.answer = "unknown", {}
        assert found.broken() == []
        found.change(kept_id(found), 1, name="another")
        assert found.broken() == [PARTIAL]

    def test_an_unanswered_job_that_never_came_is_fine(self, found: Found) -> None:
        found.log.operations.append(
            replace(found.log.operations[0], key="job-3", outcome="unknown")
        )
        assert found.broken() == []

    def test_what_is_there_of_a_refused_post_is_noticed(self, found: Found) -> None:
        one = found.log.operations[0]
        one.outcome, one.answer, one.refusal = "fail", {}, "too-many-images"
        assert found.broken() == [PARTIAL, REFUSED]

    def test_a_job_that_nobody_posted_is_noticed(self, found: Found) -> None:
        found.session.execute(delete(IdempotencyRow).where(IdempotencyRow.key == "job-2"))
        found.log.operations.pop()
        assert found.broken() == [ONCE]

    def test_a_second_job_of_one_post_is_noticed(self, found: Found) -> None:
        found.log.repeated.append(("job-1", found.sent, "job_other"))
        assert found.broken() == [SAME]

    def test_a_lost_blob_is_noticed(self, found: Found) -> None:
        sha256 = found.kept.images[found.sent][0].blob_sha256
        assert sha256 is not None
        found.blobs.delete(sha256)
        assert found.broken() == [LOST]

    def test_a_sample_left_out_taken_twice_or_mislabelled_is_noticed(self, found: Found) -> None:
        first = found.kept.images[found.stored][0]
        sample_id = first.sample_id
        found.change(found.stored, 0, before={"label": "z"}, is_changed=True)
        assert LOST in found.broken()
        found.change(found.stored, 0, before={"label": "a"}, is_changed=False)
        assert found.broken() == []
        found.change(found.stored, 1, sample_id=sample_id, before={"label": "a"}, is_changed=False)
        assert LOST in found.broken()

    def test_a_sample_of_a_later_task_is_missed_by_nobody(self, found: Found) -> None:
        found.session.execute(
            delete(PredictionJobImageRow).where(
                PredictionJobImageRow.job_id == found.stored, PredictionJobImageRow.index == 1
            )
        )
        found.change(found.stored, n_images=1, n_done=1, n_unknown=0, n_changed=0)
        assert found.broken() == [LOST]
        one = found.log.operations[1]
        one.started -= 200
        assert found.broken() == []


def kept_id(found: Found) -> str:
    """Return the job of the first post, whatever was answered to it."""
    return found.kept.posted["job-1"]


class TestEnds:
    @pytest.mark.parametrize("status", ["queued", "running", "cancelled"])
    def test_a_job_that_has_not_ended_or_by_nobody_is_noticed(
        self, found: Found, status: str
    ) -> None:
        found.log.seen.clear()
        found.change(found.sent, status=status)
        assert found.broken() == [ENDED]

    def test_an_explained_failure_is_fine_and_another_is_not(self, found: Found) -> None:
        found.log.seen.clear()
        error = {"code": "service-lost", "detail": "It was lost."}
        found.change(found.sent, status="failed", error=error)
        assert found.broken() == []
        for bad in ({"code": "internal", "detail": "It was lost."}, {**error, "detail": ""}, None):
            found.change(found.sent, error=bad)
            assert found.broken() == [ENDED]

    def test_an_image_without_an_answer_is_noticed(self, found: Found) -> None:
        found.change(found.sent, 1, result=None, label=None, is_known=None)
        assert found.broken() == [COUNTED]
        found.change(found.sent, n_done=2, n_unknown=0)
        found.log.seen.clear()
        assert found.broken() == [COUNTED]

    @pytest.mark.parametrize("name", ["n_done", "n_problems", "n_unknown", "n_changed"])
    def test_a_wrong_count_is_noticed(self, found: Found, name: str) -> None:
        found.log.seen.clear()
        found.change(found.sent, **{name: getattr(PredictionJobRow, name) + 1})
        assert found.broken() == [COUNTED]

    @pytest.mark.parametrize("values", [{"label": "b"}, {"is_known": False}, {"is_changed": True}])
    def test_a_row_that_says_otherwise_than_its_answer_is_noticed(
        self, found: Found, values: dict[str, Any]
    ) -> None:
        found.change(found.sent, 0, **values)
        assert COUNTED in found.broken()

    def test_a_job_that_goes_back_is_noticed(self, found: Found) -> None:
        found.log.seen.insert(1, JobSeen(found.sent, "running", 0))
        assert found.broken() == [FORWARD]

    def test_an_end_that_was_read_and_is_none_is_noticed(self, found: Found) -> None:
        found.log.seen.append(JobSeen(found.sent, "failed", 3))
        assert found.broken() == [FORWARD]


class TestAnswers:
    @pytest.mark.parametrize(
        "said", [PredictedLabel(0, "b", SCORE), PredictedLabel(0, "a", SCORE + 0.001)]
    )
    @pytest.mark.parametrize("job", [0, 1])
    def test_an_image_answered_otherwise_is_noticed(
        self, found: Found, said: PredictedLabel, job: int
    ) -> None:
        expected = found.expected()
        stored = [question for question in expected if isinstance(question[2], str)]
        question = stored[0] if job else ("l", 1, SENT[1])
        assert found.broken({**expected, question: said}) == [ANSWERED]

    def test_answers_that_were_given_to_each_other_are_noticed(self, found: Found) -> None:
        expected = found.expected()
        one, other = ("l", 1, SENT[0]), ("l", 1, SENT[1])
        found.change(found.sent, 0, result={"label": "a", "score": 0.5, "known": True})
        expected[one] = replace(expected[one], score=0.5)
        assert found.broken(expected) == []
        expected[one], expected[other] = expected[other], expected[one]
        assert found.broken(expected) == [ANSWERED]

    def test_rounding_is_nothing(self, found: Found) -> None:
        expected = found.expected()
        near = {question: PredictedLabel(0, "a", SCORE + 5e-5) for question in expected}
        assert found.broken(near) == []

    def test_what_nobody_could_ask_is_noticed(self, found: Found) -> None:
        expected = found.expected()
        expected.popitem()
        assert found.broken(expected) == [ANSWERED]

    def test_a_problem_with_a_picture_that_has_none_is_noticed(self, found: Found) -> None:
        problem = {"problem": {"code": "image-gone", "detail": "It was deleted."}}
        found.change(found.sent, 0, result=problem, label=None, is_known=None)
        found.change(found.sent, n_problems=1)
        assert found.broken() == [ANSWERED]


def test_a_post_has_the_same_bytes_each_time() -> None:
    bodies = []

    def accept(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return httpx.Response(202)

    with httpx.Client(base_url="http://api", transport=httpx.MockTransport(accept)) as client:
        for _ in range(2):
            assert post_job(client, "job-1", "l", "archive", SENT).is_success
    assert bodies[0] == bodies[1]
    with zipfile.ZipFile(BytesIO(bodies[0])) as archive:
        assert archive.namelist() == [file_name("job-1", index) for index in range(3)]
        assert archive.read(file_name("job-1", 1)) == job_picture(SENT[1])

"""One who posts prediction jobs while everything fails: pictures in a form or an archive, or stored samples again.

What it posted and what it read of it is what `benchmarks.chaos.judged_jobs` judges.
"""

import io
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.chaos.clients import Target
from benchmarks.chaos.history import History
from benchmarks.chaos.insisting import Insisting, Operation
from benchmarks.chaos.pictures import picture
from registry.statuses import ENDED, TaskStatus

POST_TIMEOUT_S = 15.0
BETWEEN_S = 0.7
MAX_UNFINISHED = 5
"""No job is posted beside so many: they are to be ended soon after the last fault."""
MOST_FEW, MANY = 12, 80
"""Pictures of a job: as many as are claimed at once hold a job of few, and not one of many."""
MANY_IN, STORED_IN, ARCHIVE_IN, AGAIN_IN = 5, 4, 2, 4
"""One job in so many is of many pictures, of stored samples, or an archive; one is posted once more when answered."""
N_POOL = 120
"""Pictures that jobs are made of."""
POOL_SEED = 700_000
FORM, ARCHIVE, SAMPLES = "form", "archive", "samples"


@dataclass(frozen=True)
class JobSeen:
    """What was read of a job."""

    job_id: str
    status: str
    done: int


@dataclass
class JobLog:
    """All that was posted and read."""

    operations: list[Operation] = field(default_factory=list)
    """`what`: learner, source (`form`, `archive` or `samples`) and the numbers of the pictures that were sent."""
    seen: list[JobSeen] = field(default_factory=list)
    """In the order in which it was read."""
    repeated: list[tuple[str, str, str]] = field(default_factory=list)
    """Key of a post that was answered, and which jobs its first answer and one to the same again named."""
    statuses: dict[str, str] = field(default_factory=dict)
    """Of acknowledged jobs, as read last."""

    def unfinished(self) -> list[str]:
        """Return the acknowledged jobs that have not ended, as far as was read."""
        return [job for job, status in list(self.statuses.items()) if status not in ENDED]


def job_picture(number: int) -> bytes:
    """Return a picture that jobs are made of."""
    return picture(POOL_SEED, number, 0)


def file_name(key: str, index: int) -> str:
    """Return what a picture of a job is called: no two of any jobs have one name."""
    return f"{key}-{index}.png"


class JobPoster(Insisting):
    """Posts jobs to learners in turn, never many at once, insists on an answer, and reads how they go on."""

    def __init__(
        self,
        urls: dict[str, str],
        key: str,
        history: History,
        done: JobLog,
        targets: Sequence[Target],
        *,
        seed: int,
        pace: float = 1.0,
    ) -> None:
        super().__init__(
            "job-poster",
            urls,
            key,
            history,
            done.operations,
            seed=seed,
            timeout_s=POST_TIMEOUT_S * pace,
            pace=pace,
        )
        self.done = done
        self.is_paused = threading.Event()
        """Set while nothing new is to begin."""
        self._targets = targets

    def run(self) -> None:
        """Post and read until told to stop."""
        while not self.stopping.wait(BETWEEN_S * self._pace):
            self._follow()
            if not self.is_paused.is_set() and len(self.done.unfinished()) < MAX_UNFINISHED:
                self._post()

    def _follow(self) -> None:
        for job_id in self.done.unfinished():
            read = self._get(f"/v1/prediction-jobs/{job_id}")
            if read is not None:
                self.done.seen.append(JobSeen(job_id, read["status"], read["images"]["done"]))
                self.done.statuses[job_id] = read["status"]

    def _post(self) -> None:
        learner = self._random.choice(self._targets).name
        source = FORM if self._random.randrange(ARCHIVE_IN) else ARCHIVE
        pictures: list[int] = []
        if self._random.randrange(STORED_IN) == 0:
            source = SAMPLES
        else:
            is_many = self._random.randrange(MANY_IN) == 0
            n = MANY if is_many else self._random.randint(1, MOST_FEW)
            pictures = self._random.sample(range(N_POOL), n)

        def send(client: httpx.Client, key: str) -> httpx.Response:
            return post_job(client, key, learner, source, pictures)

        what = {"learner": learner, "source": source, "pictures": pictures}
        one = self._repeat_until_answered("job", what, send)
        if one.outcome != "ok":
            return
        self.done.statuses.setdefault(one.answer["id"], TaskStatus.QUEUED)
        if self._random.randrange(AGAIN_IN) == 0:
            again = self._try("operate", one.key, lambda client: send(client, one.key))
            if again is not None and again.status_code == httpx.codes.ACCEPTED:
                self.done.repeated.append((one.key, one.answer["id"], again.json()["id"]))


def post_job(
    client: httpx.Client, key: str, learner: str, source: str, pictures: Sequence[int]
) -> httpx.Response:
    """Post a job. The same key has the same bytes in it each time."""
    path = f"/v1/learners/{learner}/prediction-jobs"
    headers = {"Idempotency-Key": key}
    if source == SAMPLES:
        return client.post(path, json={"samples": {}}, headers=headers)
    files = [(file_name(key, i), job_picture(number)) for i, number in enumerate(pictures)]
    if source == FORM:
        parts = [("images", (name, data, "image/png")) for name, data in files]
        return client.post(path, files=parts, headers=headers)
    headers["Content-Type"] = "application/zip"
    return client.post(path, content=_zip(files), headers=headers)


def _zip(files: Sequence[tuple[str, bytes]]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for name, data in files:
            # An entry of its own has the same time in it each time.
            written.writestr(zipfile.ZipInfo(name), data)
    return archive.getvalue()

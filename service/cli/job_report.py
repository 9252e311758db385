"""What prediction jobs came to: their images one line each, what changed, as CSV, as JSON."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.text import Text

from service.cli.answers import CSV_COLUMNS, csv_row, print_rows, sum_up
from service.cli.batches import Answer
from service.cli.csv_files import CsvTable
from service.cli.output import make_console, percent, print_table, warnings_of
from service.client import Filopodia
from service.remote import job_calls, replies

SCREENFUL = 20
"""Most images, and most kinds of change, that are shown unless all are asked for."""
NAMED = 10
"""Most images without an answer that are named."""
UPLOAD, PREDICTIONS, SAMPLES = "upload", "predictions", "samples"
BEFORE = ("label", "score", "known", "version")
STORED_COLUMNS = (*CSV_COLUMNS, *(f"before_{what}" for what in BEFORE), "changed", "sample")
"""Of images that were stored already: what was said before stands beside it."""


def results_of(
    client: Filopodia, job_id: str, *, changed: bool | None = None
) -> Iterator[replies.JobResult]:
    """Yield what the images of a job came to, page by page.

    Args:
        client: Of the service.
        job_id: The job.
        changed: True for those alone that are answered otherwise than before.
    """
    pages = job_calls.job_results(job_id, changed=changed)
    cursor = None
    while True:
        page = client.ask(pages.call(cursor))
        yield from page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return


def is_of_stored(job: replies.PredictionJob) -> bool:
    """Return whether a job is of images that were stored before, about which something was said already."""
    return job["source"] != UPLOAD


def columns_of(job: replies.PredictionJob) -> Sequence[str]:
    """Return the columns of a job's CSV."""
    return STORED_COLUMNS if is_of_stored(job) else CSV_COLUMNS


def write_rows(
    table: CsvTable, job: replies.PredictionJob, results: Iterable[replies.JobResult]
) -> None:
    """Write a row an image."""
    for result in results:
        answer = _answer(result)
        row = csv_row(answer, None if answer.problem else job["version"], result.get("prediction"))
        if is_of_stored(job):
            before: dict[str, Any] = {**(result.get("before") or {})}
            row[CSV_COLUMNS.index("index")] = result.get("prediction_index")
            row += [before.get(what) for what in BEFORE]
            row += [result.get("changed"), result.get("sample")]
        table.write(row)


def as_json(job: replies.PredictionJob, results: Iterable[replies.JobResult]) -> dict[str, Any]:
    """Return a job with what its images came to, each with `file` as every answer of `predict` has it."""
    return {**job, "results": [{**result, "file": result["name"]} for result in results]}


def print_answers(
    job: replies.PredictionJob, results: Sequence[replies.JobResult], *, is_table: bool
) -> None:
    """Show what images that were sent came to, as `predict` shows many images.

    Args:
        job: The job.
        results: Of all its images.
        is_table: False where a CSV holds the rows: then there is only their sum, on the standard error.
    """
    answers = [_answer(result) for result in results]
    if is_table:
        print_rows(answers)
    sum_up(answers, {job["version"]}, make_console(stderr=not is_table))


def print_stored(job: replies.PredictionJob, results: Sequence[replies.JobResult]) -> None:
    """Show what stored images came to, each beside what was said before."""
    rows = [
        (
            result["name"],
            _before(result),
            _now(result),
            percent(result.get("score")),
            _place(result),
            _answer(result).problem or ", ".join(warnings_of(result)),
        )
        for result in results
    ]
    columns = ("file", said_before(job), "answered now", "score", PREDICTIONS[:-1], "")
    kept = [i for i in range(len(columns)) if i < 3 or any(row[i] for row in rows)]
    print_table(
        [columns[i] for i in kept], ([row[i] for i in kept] for row in rows), empty="No image."
    )


def print_changes(
    client: Filopodia, job: replies.PredictionJob, console: Console, *, is_all: bool
) -> None:
    """Say what stored images are answered otherwise, and what could not be predicted.

    Args:
        client: Of the service.
        job: The job.
        console: Where to say what stands in no table.
        is_all: Show all of those that changed; otherwise of many the kinds of change, and a screenful.
    """
    if job["images"]["changed"]:
        changed = list(results_of(client, job["id"], changed=True))
        if job["source"] == SAMPLES:  # a label is the more doubtful, the surer the answer
            changed.sort(key=lambda result: -(result.get("score") or 0.0))
        if len(changed) > SCREENFUL:
            _print_kinds(job, changed, console)
        print_stored(job, changed if is_all else changed[:SCREENFUL])
        if len(changed) > SCREENFUL and not is_all:
            console.print(
                f"... and {len(changed) - SCREENFUL:,} more: `filopodia job {job['id']} --changed` shows all of them, "
                "--csv FILE writes them.",
                style="dim",
                soft_wrap=True,
            )
    name_problems(client, job, console)


def name_problems(client: Filopodia, job: replies.PredictionJob, console: Console) -> None:
    """Name images of a job that could not be predicted, each with the reason."""
    n = job["images"]["problems"]
    if not n:
        return
    console.print(f"Could not be predicted: {n:,}.", style="red")
    named = 0
    for result in results_of(client, job["id"]):
        if problem := _answer(result).problem:
            console.print(f"  {result['name']}: {problem}", soft_wrap=True)
            named += 1
        if named == min(n, NAMED):
            break
    if n > named:
        console.print(f"  ... and {n - named:,} more", style="dim")


def summary(job: replies.PredictionJob) -> Text:
    """Return what came of predicting stored images again, in one sentence.

    Example:
        >>> images = {"total": 1204, "done": 1204, "changed": 37, "problems": 3, "unknown": 9}
        >>> str(summary({"source": "predictions", "version": 7, "images": images}))
        '1,204 images predicted again with version 7: 37 are answered otherwise, 3 could not be predicted.'
        >>> images = {"total": 80, "done": 64, "changed": 1, "problems": 0, "unknown": 9}
        >>> str(summary({"source": "samples", "version": 7, "images": images}))
        '64 of 80 images predicted again with version 7: 1 is answered otherwise than taught.'
    """
    images = job["images"]
    done, total, n = images["done"], images["total"], images["changed"]
    how_many = images_of(total) if done == total else f"{done:,} of {images_of(total)}"
    verb = "are" if n > 1 else "is"
    than = " than taught" if job["source"] == SAMPLES else ""
    problems = f", {images['problems']:,} could not be predicted" if images["problems"] else ""
    return Text.assemble(
        f"{how_many} predicted again with version {job['version']}: ",
        (f"{f'{n:,}' if n else 'none'} {verb} answered otherwise{than}", "bold"),
        f"{problems}.",
    )


def images_of(n: int) -> str:
    """Return how many images there are.

    Example:
        >>> images_of(1), images_of(1204)
        ('1 image', '1,204 images')
    """
    return f"{n:,} image{'' if n == 1 else 's'}"


def said_before(job: replies.PredictionJob) -> str:
    """Return what the labels are that stand beside a job's answers."""
    return "taught as" if job["source"] == SAMPLES else "answered before"


def _print_kinds(
    job: replies.PredictionJob, changed: Sequence[replies.JobResult], console: Console
) -> None:
    """Show what is answered now in the place of what, most frequent first."""
    kinds = Counter((_before(result), _now(result)) for result in changed)
    print_table(
        (said_before(job), "answered now", "images"),
        ((before, now, n) for (before, now), n in kinds.most_common(SCREENFUL)),
        empty="None.",
    )
    if len(kinds) > SCREENFUL:
        console.print(f"... and {len(kinds) - SCREENFUL:,} other changes", style="dim")
    console.print()


def _before(result: replies.JobResult) -> str:
    before = result.get("before") or {}
    return _said(before.get("label"), before.get("known"))


def _now(result: replies.JobResult) -> str:
    return _said(result.get("label"), result.get("known"))


def _said(label: str | None, known: bool | None) -> str:
    """Return an answer in words.

    Example:
        >>> _said("heron", True), _said("heron", False), _said(None, None)
        ('heron', 'heron (not known)', '')
    """
    return f"{label or ''} (not known)" if known is False else label or ""


def _place(result: replies.JobResult) -> str:
    """Return where feedback on an image is given."""
    index = result.get("prediction_index")
    return (
        f"{result.get('prediction') or ''} --index {index}"
        if index
        else result.get("prediction") or ""
    )


def _answer(result: replies.JobResult) -> Answer:
    """Return a result as `predict` has it."""
    return Answer(Path(result["name"]), cast("replies.PredictionResult", result))

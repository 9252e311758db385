"""`filopodia watch`: predict the images that come into a folder, or learn them where its folders are classes."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from service.cli.answers import ANSWERED
from service.cli.batches import Answer, Question, RequestLimits, ask_all
from service.cli.csv_files import CsvTable
from service.cli.image_files import shown
from service.cli.options import KeyOption, UrlOption, connect, learner_names
from service.cli.output import counted, make_console, percent
from service.cli.watched_folder import UNKNOWN_FOLDER, Done, Found, WatchedFolder, move_to
from service.client import (
    ClientError,
    Filopodia,
    LabelledImage,
    ProblemError,
    TaskOptions,
)

COLUMNS = ("file", "at", *ANSWERED, "version", "prediction", "problem", "moved_to")
FIRST_PAUSE_S, MOST_PAUSE_S = 2.0, 60.0
"""Before the service is asked again after it could not be reached."""
LASTING = frozenset({"learner-not-found", "unauthorized", "forbidden"})
"""Problems that do not pass by waiting a moment."""
TASK_IMAGES = 500
TASK_BYTES = 48 * 1024 * 1024
"""Most that is learned as one task: what is more becomes the next one."""


def watch(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="What to watch."),
    ],
    learner: Annotated[
        str,
        typer.Option(
            "--learner", metavar="NAME", help="Who is asked.", autocompletion=learner_names
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Append the answers to a file: .csv, or .jsonl with a line an image.",
        ),
    ] = None,
    move: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Move what is answered into this folder, by class."),
    ] = None,
    teach: Annotated[
        bool, typer.Option("--teach", help="The folders in it are classes: learn what comes.")
    ] = False,
    quiet: Annotated[
        float,
        typer.Option(min=0, help="Seconds without a new file before it is learned, with --teach."),
    ] = 10.0,
    settle: Annotated[
        float, typer.Option(min=0, help="Seconds that a file must not change before it is taken.")
    ] = 2.0,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 1.0,
    state: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File with what is done; in the folder unless set."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Take what is there, and end: for a timer of your own.")
    ] = False,
    store: Annotated[
        bool, typer.Option(help="Keep the answers, for `predictions` and `feedback`.")
    ] = True,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line an image.")] = False,
) -> None:
    """Predict the images that come into a folder, from now on, until Ctrl-C. What is there already comes first.

    A file that is still being written waits. Each is asked about once, also after the command was started again; one
    that is changed is asked about again. While the service cannot be reached, what comes waits.

    With --teach each folder in it is a class, and its new images are learned once nothing has come for a while. Images
    beside these folders are predicted.
    """
    if move is not None and teach:
        raise typer.BadParameter(
            "--move would take images out of the folders that --teach learns from."
        )
    if out is not None and out.suffix.lower() not in (".csv", ".jsonl", ".json"):
        raise typer.BadParameter("--out names a .csv or a .jsonl file.")
    done = Done(state or folder / f".filopodia-watch-{learner}", folder)
    watched = WatchedFolder(folder, done, settle_s=settle, clock=time.monotonic, leave_out=move)
    with connect(url, key) as client, Records(out, as_json=as_json) as records:
        watcher = Watcher(
            client, folder, learner, done, records, move=move, teaches=teach, store=store
        )
        # A service manager ends it well, too.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            _run(watcher, watched, quiet_s=quiet, every_s=every, is_once=once)
        except KeyboardInterrupt:
            make_console(stderr=True).print(
                "Ended. What comes from now on waits for the next start."
            )
        finally:
            signal.signal(signal.SIGTERM, before)


def _run(
    watcher: "Watcher", watched: WatchedFolder, *, quiet_s: float, every_s: float, is_once: bool
) -> None:
    pause_s = FIRST_PAUSE_S
    while True:
        ready, n_waiting = watched.look()
        is_quiet = not n_waiting and time.monotonic() - watched.changed_at >= quiet_s
        try:
            watcher.take(ready, is_quiet=is_quiet)
        except ClientError as error:
            if is_once or watcher.is_lasting(error):
                raise
            make_console(stderr=True).print(f"{error} Trying again.", soft_wrap=True)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
            continue
        pause_s = FIRST_PAUSE_S
        if is_once and not n_waiting and (is_quiet or not watcher.teaches):
            return
        time.sleep(every_s)


class Records:
    """Where answers go: lines on the standard output, and a file that grows."""

    def __init__(self, out: Path | None, *, as_json: bool) -> None:
        self._as_json = as_json
        self._stream: IO[str] | None = None
        self._table: CsvTable | None = None
        if out is not None:
            has_rows = out.is_file() and out.stat().st_size > 0
            self._stream = out.open("a", encoding="utf-8", newline="")
            if out.suffix.lower() == ".csv":
                self._table = CsvTable(self._stream, COLUMNS, has_head=has_rows)

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, record: dict[str, Any]) -> None:
        """Show an answer, and append it."""
        line = json.dumps(record, ensure_ascii=False)
        if self._as_json:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        else:
            make_console().print(_said(record), markup=False, highlight=False, soft_wrap=True)
        if self._table is not None:
            self._table.write([record[column] for column in COLUMNS])
        elif self._stream is not None:
            self._stream.write(line + "\n")
            self._stream.flush()


@dataclass
class Watcher:
    """Does what is to be done with images that have come."""

    client: Filopodia
    folder: Path
    learner: str
    done: Done
    records: Records
    move: Path | None = None
    teaches: bool = False
    store: bool = True
    _refused: frozenset[Path] = frozenset()
    """Images that could not be learned so far, such as the first of a class: tried again once others come."""

    def take(self, ready: Sequence[Found], *, is_quiet: bool) -> None:
        """Ask about images, and learn those that belong to a class if nothing more is coming.

        Raises:
            ClientError: If the service cannot be reached, or refuses. What was done until then is noted.
        """
        taught = [one for one in ready if self.teaches and one.path.parent != self.folder]
        if is_quiet and taught and {one.path for one in taught} != self._refused:
            self._teach(taught)
        self._predict([one for one in ready if one not in taught])

    def is_lasting(self, error: ClientError) -> bool:
        """Return whether a problem will not pass by waiting: that nothing is learned passes while we teach."""
        code = error.code if isinstance(error, ProblemError) else None
        return code in LASTING or (code == "nothing-learned" and not self.teaches)

    def _predict(self, ready: Sequence[Found]) -> None:
        if not ready:
            return
        limits = RequestLimits.of(self.client)
        by_path = {one.path: one for one in ready}
        question = Question(self.learner, top=1, trace="none", store=self.store)
        for answer in ask_all(self.client, question, list(by_path), limits):
            found = by_path[answer.file]
            self._note(found, answer)

    def _note(self, found: Found, answer: Answer) -> None:
        moved_to = None
        if self.move is not None and answer.problem is None:
            label = answer.result["label"] if answer.result["known"] else UNKNOWN_FOLDER
            moved_to = shown(move_to(found.path, str(label), self.move))
        self.records.add(_record(self.folder, answer, moved_to))
        self.done.add([found])

    def _teach(self, taught: Sequence[Found]) -> None:
        """Learn images as tasks of a bounded size, each of whole classes as far as they fit."""
        self._refused = frozenset(one.path for one in taught)
        console = make_console(stderr=True)
        for part in _parts(taught):
            images = [
                LabelledImage(data, one.path.relative_to(self.folder).parts[0])
                for one in part
                if (data := _bytes_of(one.path)) is not None
            ]
            if not images:
                continue
            try:
                options = TaskOptions(mode="extend", on_bad_image="skip")
                task = self.client.learn_images(self.learner, images, options)
            except ProblemError as problem:
                if problem.code == "nothing-new":
                    self.done.add(part)
                    continue
                if problem.code not in ("too-few-images", "missing-image"):
                    raise
                console.print(f"not learned yet: {problem}", style="yellow", soft_wrap=True)
                continue
            self.done.add(part)
            said = f"{task.id}: learning {counted(len(part), 'image')}"
            console.print(said, soft_wrap=True)


def _bytes_of(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:  # it is gone again
        return None


def _parts(taught: Sequence[Found]) -> list[list[Found]]:
    parts: list[list[Found]] = [[]]
    n_bytes = 0
    for one in taught:
        if parts[-1] and (len(parts[-1]) >= TASK_IMAGES or n_bytes + one.mark[0] > TASK_BYTES):
            parts.append([])
            n_bytes = 0
        parts[-1].append(one)
        n_bytes += one.mark[0]
    return parts


def _record(folder: Path, answer: Answer, moved_to: str | None) -> dict[str, Any]:
    result: dict[str, Any] = dict(answer.result)
    reply = answer.reply
    return {
        "file": shown(answer.file.relative_to(folder)),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: result.get(name) for name in ANSWERED},
        "version": None if reply is None else reply["version"],
        "prediction": None if reply is None else reply.get("id"),
        "problem": answer.problem,
        "moved_to": moved_to,
    }


def _said(record: dict[str, Any]) -> str:
    if record["problem"]:
        return f"{record['file']}: {record['problem']}"
    known = "" if record["known"] else ", but looks like no class"
    return f"{record['file']}: {record['label']} {percent(record['score'])}{known}"

"""Logs of service and workers on standard error: JSON objects for programs, few plain lines for a person watching.

JSON is one object a line, those of the libraries included. On a terminal a person reads along: there only what went
wrong is told, and what a learner answers with, without colours, and with every control character escaped.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from types import TracebackType
from typing import Any, Literal

import structlog

from registry.log_lines import LOG_LINES
from registry.streams import ready_streams

LogFormat = Literal["auto", "json", "text"]

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# Without local variables: they hold keys, secrets and images.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_TOLD = {
    "not_started": "{reason}",
    "version_served": "{learner} answers with version {version}",
}
"""Events that a person reads as a sentence; other ones only if they are warnings or worse."""
_LEFT_OUT = frozenset({"event", "level", "timestamp", "exception"})
_CLEAR_LINE = "\r\x1b[K"
"""What `service.startup` may be drawing on the same terminal is drawn again after it."""


def configure_logging() -> None:
    """Let structlog and `logging` write to standard error. Call once, in `main`.

    From then on a standard error that is closed, full, or read by nobody costs the log, and nothing else: lines are
    written by a thread of their own. So are warnings, and what ends a thread or the process.
    """
    ready_streams()
    is_text = _is_text(os.environ.get("FILOPODIA_LOG_FORMAT", "auto"))
    rendering = _rendering(is_text=is_text)
    structlog.configure(
        processors=[*_SHARED, *((_drop_quiet,) if is_text else ()), *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_LineLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(LOG_LINES)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    # One that cannot be rendered is left out in silence: what `logging` would say of it goes where a full pipe may be.
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    LOG_LINES.on_recovery = _say_dropped
    threading.excepthook = _log_end_of_thread
    sys.excepthook = _log_end_of_process


class _LineLogger:
    """Where structlog's entries end, as text."""

    def msg(self, message: str) -> None:
        LOG_LINES.write(message + "\n")

    log = debug = info = warning = warn = error = critical = fatal = failure = exception = msg


class _LineLoggerFactory:
    def __call__(self, *_: object) -> _LineLogger:
        return _LineLogger()


def _say_dropped(lines: int) -> None:
    structlog.get_logger().warning("log_lines_dropped", lines=lines)


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit and ended.exc_value is not None:
        structlog.get_logger().error(
            "thread_ended",
            thread=ended.thread.name if ended.thread else None,
            exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback),
        )


def _log_end_of_process(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        structlog.get_logger().critical("process_ended", exc_info=(kind, error, trace))


def _is_text(wanted: str) -> bool:
    """Read the setting before the settings, whose faults are logged too; they refuse what it cannot be."""
    if wanted in ("json", "text"):
        return wanted == "text"
    return _is_watched()


def _is_watched() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it was closed
        return False


def _rendering(*, is_text: bool) -> list[structlog.typing.Processor]:
    if not is_text:
        return [_TRACEBACKS, _whatever_happens(structlog.processors.JSONRenderer())]
    clear = _CLEAR_LINE if _is_watched() and os.environ.get("TERM", "dumb") != "dumb" else ""

    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return clear + as_text(event)

    return [structlog.processors.format_exc_info, _whatever_happens(render)]


def _whatever_happens(render: structlog.typing.Processor) -> structlog.typing.Processor:
    """Return a renderer that leaves the values out where they cannot be rendered: nobody fails because he logs."""

    def render_or_name(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        try:
            return render(logger, method, event)
        except Exception:  # noqa: BLE001 (a value may raise anything when it is asked what it is)
            name = str(event.get("event"))
            return json.dumps({"event": name, "level": method, "left_out": sorted(map(str, event))})

    return render_or_name


def _drop_quiet(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if event.get("level") in ("debug", "info") and event["event"] not in _TOLD:
        raise structlog.DropEvent
    return event


def as_text(event: Mapping[str, Any]) -> str:
    r"""Return a log entry as a line for a person; a traceback follows on lines of its own.

    Example:
        >>> as_text({"event": "not_started", "level": "error", "reason": "Port 80 is taken."})
        'Port 80 is taken.'
        >>> as_text({"event": "worker_ended", "level": "warning", "code": 1, "name": "a\x1b[2J"})[9:]
        'warning: worker ended, code 1, name a\\x1b[2J'
    """
    name = str(event["event"])
    values = {key: _plain(value) for key, value in event.items() if key not in _LEFT_OUT}
    if name == "not_started":
        return _TOLD[name].format_map(values)
    level = event.get("level", "info")
    sentence = ", ".join((_plain(name.replace("_", " ")), *(f"{k} {v}" for k, v in values.items())))
    if name in _TOLD:
        sentence = _TOLD[name].format_map(values)
    line = f"{datetime.now():%H:%M:%S} {sentence if level == 'info' else f'{level}: {sentence}'}"  # noqa: DTZ005 (the watcher's own clock)
    lines = str(event.get("exception", "")).splitlines()
    return "\n".join([line, *(f"  {_plain(part)}" for part in lines)])


def _plain(value: Any) -> str:
    """Return a value as text that moves no cursor and breaks no line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

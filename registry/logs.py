"""Logs of service and workers on standard error: JSON objects for programs, few plain lines for a person watching.

JSON is one object a line, those of the libraries included. On a terminal a person reads along: there only what went
wrong is told, and what a learner answers with, without colours, and with every control character escaped.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from typing import Any, Literal

import structlog

from registry.streams import STANDARD_ERROR, ready_streams

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

    From then on a standard error that is closed or full costs the log, and nothing else.
    """
    ready_streams()
    is_text = _is_text(os.environ.get("FILOPODIA_LOG_FORMAT", "auto"))
    rendering = _rendering(is_text=is_text)
    structlog.configure(
        processors=[*_SHARED, *((_drop_quiet,) if is_text else ()), *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(STANDARD_ERROR),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(STANDARD_ERROR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


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
        return [_TRACEBACKS, structlog.processors.JSONRenderer()]
    clear = _CLEAR_LINE if _is_watched() and os.environ.get("TERM", "dumb") != "dumb" else ""

    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return clear + as_text(event)

    return [structlog.processors.format_exc_info, render]


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
    told = ", ".join((_plain(name.replace("_", " ")), *(f"{k} {v}" for k, v in values.items())))
    if name in _TOLD:
        told = _TOLD[name].format_map(values)
    line = f"{datetime.now():%H:%M:%S} {told if level == 'info' else f'{level}: {told}'}"  # noqa: DTZ005 (the watcher's own clock)
    lines = str(event.get("exception", "")).splitlines()
    return "\n".join([line, *(f"  {_plain(part)}" for part in lines)])


def _plain(value: Any) -> str:
    """Return a value as text that moves no cursor and breaks no line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

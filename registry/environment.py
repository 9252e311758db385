"""How settings are read from the environment, and what is said about one that is wrong.

A person meets a setting as a variable: `FILOPODIA_PORT`, `DATABASE_URL`. So a wrong one is named by its variable, with
what it may be, in one sentence; what it is now is shown too, unless it may hold a password.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AliasChoices, BeforeValidator, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode

from registry.errors import SettingsError

PREFIX = "FILOPODIA_"
KNOWN = frozenset(
    f"{PREFIX}{name}"
    for name in """
    ALLOWED_HOSTS BACKBONE_WEIGHTS BACKUP_DAYS BATCH_WAIT_MS BODY_BYTES_PER_S CHANGES_PER_MINUTE CHECKPOINT_S
    CONSOLIDATE CONSOLIDATE_IDLE_S CORS_ORIGINS DATA_DIR DECODE_THREADS DEVICE DRAIN_S EMBEDDED_WORKER
    FORWARDED_ALLOW_IPS GRACEFUL_STOP_S HEARTBEAT_S HOST HTTPS_ONLY_COOKIE IMAGES_PER_DAY KEEP_PREDICTIONS_DAYS
    KEEP_PREDICTION_IMAGES KEY LARGE_BODY_BYTES_PER_S LEARN_PROCESS_MB LEARN_STANDBY LEASE_S LOG_FORMAT
    MAX_BATCH MAX_BUNDLE_BYTES MAX_CLASSES MAX_CONNECTIONS MAX_DECODE_BYTES MAX_HELD_BODY_BYTES MAX_IMAGE_BYTES
    MAX_IMAGE_PIXELS MAX_JSON_BYTES MAX_JSON_TASK_BYTES MAX_LOADED_BYTES MAX_PREDICT_BYTES MAX_PREDICT_IMAGES
    MAX_PREDICT_PIXELS MAX_TASK_BYTES MAX_TASK_IMAGES MAX_WAIT_S MIN_FREE_BYTES MIN_IMAGES
    MQTT_PASSWORD_FILE MQTT_PREFIX MQTT_URL NOTIFY_ALLOW OLDER_VERSIONS
    ONNX_RUNTIME POLL_S PORT PREDICTION_BACKLOG PREDICTION_IMAGE_BACKLOG_BYTES PREDICT_IMAGES_PER_MINUTE
    PREDICT_PIXELS_PER_MINUTE PROGRESS_S REQUEST_DEADLINE_S RING_S ROOT_PATH SLOTS STOP_GRACE_S TASKS_PER_DAY
    TASK_TIME_LIMIT_S TORCH_THREADS UPLOAD_SLOTS URL WATCH_S WORKER_ID
    """.split()  # noqa: SIM905 (sixty quotes and commas would hide the names)
)
"""All settings of service, worker and command line, also those that a process reading this does not have itself."""
KNOWN_ELSEWHERE = frozenset(
    f"{PREFIX}{name}"
    for name in ("API_MEMORY", "CHAOS_RUN", "FAILPOINTS", "IMAGE", "PUBLISH", "WORKER_MEMORY")
)
"""Variables of the composition and of tests."""
SHOWN_CHARACTERS = 60
_CLOSE = 0.8
"""How alike two names must be for one to be taken for a slip of the other; chosen, untested beyond a few slips."""


def split_list(value: object) -> object:
    """Return the items of a list written plainly, `a, b`, or as JSON, `["a", "b"]`.

    Example:
        >>> split_list("example.org, 127.0.0.1"), split_list('["example.org"]'), split_list("a,")
        (['example.org', '127.0.0.1'], ['example.org'], ['a'])
    """
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)]
"""A setting of several texts."""


def trimmed(value: object, field: FieldInfo) -> object:
    """Return what a variable holds without blanks and line ends around it, unless it is a path, which may have some."""
    if not isinstance(value, str):
        return value
    if Path in _types(field.annotation):
        return Path(value)
    if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("text in UTF-8")
    return value.strip()


def variable_of(name: str, field: FieldInfo) -> str:
    """Return the environment variable of a setting."""
    alias = field.validation_alias
    return str(alias.choices[-1]) if isinstance(alias, AliasChoices) else f"{PREFIX}{name.upper()}"


def explain(kind: type[BaseSettings], error: ValidationError) -> SettingsError:
    """Return what pydantic found as one error: a sentence for each setting that is wrong."""
    # The context holds what our own checks raised; the error itself is not chained, because it shows passwords.
    errors = error.errors(include_url=False)
    return SettingsError(" ".join(dict.fromkeys(_sentence(kind, wrong) for wrong in errors)))


def unknown_settings(environment: Mapping[str, str], known: Iterable[str] = KNOWN) -> list[str]:
    """Return a sentence for each variable that looks like a setting and is none.

    Example:
        >>> unknown_settings({"FILOPODIA_ALOWED_HOSTS": "example.org"})
        ['FILOPODIA_ALOWED_HOSTS is no setting and does nothing: did you mean FILOPODIA_ALLOWED_HOSTS?']
    """
    names = {*known, *KNOWN_ELSEWHERE}
    strange = sorted(
        name
        for name in environment
        if name.upper().startswith(PREFIX) and name.upper() not in names
    )
    sentences = []
    for name in strange:
        near = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=_CLOSE)
        advice = f"did you mean {near[0]}?" if near else ".env.example lists all."
        sentences.append(f"{ascii(name)[1:-1]} is no setting and does nothing: {advice}")
    return sentences


def _sentence(kind: type[BaseSettings], wrong: ErrorDetails) -> str:
    place = str(wrong["loc"][0]) if wrong["loc"] else ""
    fields = kind.model_fields
    known = {variable_of(name, field): name for name, field in fields.items()}
    name = known.get(place, place)
    if name not in fields:
        return f"The settings do not fit together: {_reason(wrong) or wrong['msg']}."
    value = wrong["input"]
    what = _reason(wrong) or _what_it_may_be(fields[name])
    shown = "" if _is_private(fields[name], value) else f", not {json.dumps(value, default=str)}"
    if len(shown) > SHOWN_CHARACTERS:
        shown = f'{shown[:SHOWN_CHARACTERS]}..."'
    return f"{variable_of(name, fields[name])} must be {what}{shown}."


def _reason(wrong: ErrorDetails) -> str | None:
    """Return what a check of ours says that it may be."""
    raised = wrong.get("ctx", {}).get("error")
    return None if isinstance(raised, json.JSONDecodeError | None) else str(raised)


def _is_private(field: FieldInfo, value: object) -> bool:
    """Return whether what was given is not shown: it may hold a password, or says nothing."""
    return value is None or SecretStr in _types(field.annotation) or "://" in str(value)


def _what_it_may_be(field: FieldInfo) -> str:
    if field.description is not None:
        return field.description
    types = _types(field.annotation)
    literals = [
        str(value) for part in types if get_origin(part) is Literal for value in get_args(part)
    ]
    if literals:
        return f"one of {', '.join(literals)}"
    if tuple in types:
        return "texts with commas between them, or a JSON list of texts"
    if bool in types:
        return "yes or no (true or false, on or off, 1 or 0)"
    if int in types or float in types:
        return f"a {'whole ' if int in types else ''}number{_bounds(field)}"
    return "a path" if Path in types else "text"


def _bounds(field: FieldInfo) -> str:
    low = next((f" of at least {m.ge}" for m in field.metadata if isinstance(m, Ge)), "")
    above = next((f" above {m.gt}" for m in field.metadata if isinstance(m, Gt)), "")
    high = next((f"{m.le}" for m in field.metadata if isinstance(m, Le)), "")
    below = next((f" below {m.lt}" for m in field.metadata if isinstance(m, Lt)), "")
    if low and high:
        return f"{low.replace(' of at least', ' from')} to {high}"
    return f"{low}{above}{f' of at most {high}' if high else ''}{below}"


def _types(annotation: Any) -> set[Any]:
    """Return the types a setting may have, without what is said about them."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return {inner for part in get_args(annotation) for inner in _types(part)}
    if origin is Annotated:
        return _types(get_args(annotation)[0])
    return {annotation if origin in (None, Literal) else origin}

"""Hyperparameters at the HTTP border: from JSON to a strategy's typed configuration and back."""

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.bounds import require_within
from models.errors import ConfigError
from models.strategies.base import Strategy
from models.strategies.catalog import find_strategy
from models.strategies.spelling import own_config, spelled_like, strategy_name
from service.problems import FieldError, Problem
from service.schemas.base import MAX_INT
from service.strict_json import safe_token
from service.validation import field_errors


def require_strategy(name: str, config: Mapping[str, Any]) -> type[Strategy[Any]]:
    """Return the strategy of the catalog that a name means, with hyperparameters that may name a preset of it.

    Raises:
        Problem: `unknown-strategy`.
    """
    try:
        return find_strategy(strategy_name(name, config))
    except ConfigError as error:
        raise Problem("unknown-strategy", str(error)) from error


def complete_config(
    name: str, config: dict[str, Any], *, asked: Collection[str] | None = None
) -> dict[str, Any]:
    """Validate hyperparameters and fill in the defaults. A preset that they name stays named.

    Args:
        name: Of the strategy whose hyperparameters they are.
        config: Those that are not to have their defaults.
        asked: Names of those that have to lie within their bounds; None is all of them. The others are kept from what
            was accepted once, by an earlier release perhaps.

    Raises:
        Problem: `unknown-strategy` or `invalid-config`, with the nearest known name of a mistyped one.
    """
    strategy = require_strategy(name, config)
    _check_sizes(config)
    adapter: TypeAdapter[Any] = TypeAdapter(strategy.config_type)
    try:
        # JSON mode: a list fills a tuple, but "0.1" does not pass as a number.
        value = adapter.validate_json(json.dumps(own_config(name, config)), strict=True)
        require_within(value, asked)
    except ValidationError as error:
        raise _invalid(error, strategy) from error
    except ConfigError as error:
        field = str(error).partition(" ")[0]
        raise Problem(
            "invalid-config", str(error), errors=(FieldError(f"/config/{field}", str(error)),)
        ) from error
    except (ValueError, OverflowError) as error:
        raise Problem("invalid-config") from error
    own = json.loads(json.dumps(asdict(value)))
    return spelled_like(name, config, strategy.name, own)


def override_config(name: str, config: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return a learner's whole configuration `config` with what a task asks for in its place.

    A preset that the task asks for, and the learner is not of, brings its own defaults.

    Raises:
        Problem: As `complete_config`.
    """
    strategy = require_strategy(name, config)
    if require_strategy(name, {**config, **asked}) is not strategy:
        usual = config_defaults(strategy)
        own = own_config(name, config)
        config = {key: value for key, value in own.items() if usual.get(key) != value}
    return complete_config(name, {**config, **asked}, asked=asked)


def config_schema(strategy: type[Strategy[Any]]) -> dict[str, Any]:
    """Return the JSON Schema of a strategy's configuration."""
    return TypeAdapter(strategy.config_type).json_schema()


def config_defaults(strategy: type[Strategy[Any]]) -> dict[str, Any]:
    """Return the configuration a learner gets that asks for nothing."""
    return dict(json.loads(json.dumps(asdict(strategy.config_type()))))


def _check_sizes(config: dict[str, Any]) -> None:
    """Refuse integers that fit no database column and no tensor dimension."""
    for key, value in config.items():
        if isinstance(value, int) and abs(value) > MAX_INT:
            error = FieldError(f"/config/{safe_token(key)}", "The number is too large.")
            raise Problem("invalid-config", errors=(error,))


def _invalid(error: ValidationError, strategy: type[Strategy[Any]]) -> Problem:
    known = list(config_defaults(strategy))
    errors = []
    for finding, entry in zip(
        error.errors(), field_errors(error.errors(), "/config"), strict=False
    ):
        detail = entry.detail
        if finding["type"] == "value_error":
            detail = str(finding["ctx"]["error"])  # a ConfigError: our own sentence
        elif finding["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            detail = f"The strategy {strategy.name} has no such hyperparameter.{_nearest(finding, known)}"
        errors.append(FieldError(entry.pointer, detail))
    first = errors[0].detail if errors else None
    return Problem("invalid-config", first, errors=tuple(errors))


def _nearest(finding: Any, known: list[str]) -> str:
    sent = safe_token(finding["loc"][-1])
    close = difflib.get_close_matches(sent, known, n=1, cutoff=0.5)
    return f" Did you mean `{close[0]}`?" if close else f" Known are {', '.join(known)}."

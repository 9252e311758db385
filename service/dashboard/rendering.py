"""Turns what a page shows into HTML: the templates and how values read in them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from registry.measures import Measure, MeasuredBy
from service.assets import asset_url, plotly_style_id
from service.wording import listed

NONE = "–"  # noqa: RUF001
KINDS: Mapping[MeasuredBy, str] = {
    "held_out": "held out",
    "cross_validated": "left out in turn",
    "both": "held out or left out in turn",
}
"""What an accuracy was measured on."""
SHARP = 0.1
"""Width of an interval below which its ends have a decimal."""
PAGE_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
"""Headers of every page. Without a referrer policy of its own a form would send `Origin: null`, which says nothing."""


def make_environment(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Environment:
    """Return the templates. Everything is escaped, and an unknown name is an error, not a blank."""
    environment = Environment(
        loader=PackageLoader("service.dashboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    logo = Markup(environment.get_template("logo.html").render())
    environment.globals.update(
        asset=asset_url,
        plotly_style_id=plotly_style_id,
        logo=lambda: logo,
        ago=lambda moment: ago(moment, now()),
        ahead=lambda moment: ahead(moment, now()),
        day=day,
    )
    environment.filters.update(
        percent=percent,
        interval=interval,
        basis=basis,
        kind=kind,
        decimal=decimal,
        duration=duration,
        filesize=filesize,
        width=width,
        listed=listed,
        setting=setting,
    )
    return environment


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return make_environment()


def render(template: str, **values: Any) -> str:
    """Render one of the templates."""
    return _environment().get_template(template).render(**values)


def percent(value: float | None) -> str:
    """Format a share.

    Example:
        >>> percent(0.9731), percent(1.0)
        ('97.3%', '100%')
    """
    if value is None:
        return NONE
    return "100%" if value == 1 else f"{100 * value:.1f}%"


def interval(measure: Measure) -> str:
    """Format the 95 % interval of an accuracy, as sharp as it is.

    Example:
        >>> from registry.measures import share
        >>> interval(share(9, 10)), interval(share(990, 1000))
        ('60 to 98%', '98.2 to 99.5%')
    """
    digits = 0 if measure.high - measure.low >= SHARP else 1
    return f"{100 * measure.low:.{digits}f} to {100 * measure.high:.{digits}f}%"


def kind(measure: Measure) -> str:
    """Say what images an accuracy was measured on."""
    return KINDS[measure.measured_by]


def basis(measure: Measure) -> str:
    """Say how sure an accuracy is, and what it rests on.

    Example:
        >>> from registry.measures import share
        >>> basis(share(9, 10))
        '95% interval 60 to 98%, of 10 images held out'
    """
    images = "image" if measure.n == 1 else "images"
    few = ": too few to tell" if measure.is_too_few else ""
    return f"95% interval {interval(measure)}, of {measure.n} {images} {kind(measure)}{few}"


def decimal(value: float | None) -> str:
    """Format a number with two decimals.

    Example:
        >>> decimal(1.0), decimal(0.456)
        ('1', '0.46')
    """
    if value is None:
        return NONE
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Format a span of time.

    Example:
        >>> duration(4.2), duration(75), duration(7300)
        ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def filesize(size_bytes: int) -> str:
    """Format a size.

    Example:
        >>> filesize(912), filesize(2_345_000)
        ('1 kB', '2.3 MB')
    """
    return f"{size_bytes / 1e3:.0f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:.1f} MB"


def setting(value: Any) -> str:
    """Say the value of a setting as a person writes it.

    Example:
        >>> setting(None), setting(True), setting([1, 2]), setting({}), setting(0.5)
        ('not set', 'yes', '1, 2', 'none', '0.5')
    """
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = [f"{name} {setting(one)}" for name, one in value.items()]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def width(share: float) -> str:
    """Format a share in [0, 1] as a length of an SVG.

    Example:
        >>> width(0.25), width(3.0)
        ('25.00%', '100.00%')
    """
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def ago(moment: datetime | None, now: datetime) -> Markup:
    """Say how long ago something was, as a `time` element that carries the exact moment."""
    if moment is None:
        return Markup(NONE)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"),
        moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
        _spoken(now - moment, moment),
    )


def ahead(moment: datetime, now: datetime) -> Markup:
    """Say how soon something will be, as a `time` element."""
    seconds = (moment - now).total_seconds()
    if seconds < 60:
        spoken = "within a minute"
    elif seconds < 3600:
        spoken = f"in {seconds / 60:.0f} min"
    else:
        spoken = f"in {seconds / 3600:.0f} h"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M:%S UTC"), spoken
    )


def day(moment: datetime | None) -> Markup:
    """Return the day of a moment, also of one that is still to come, as a `time` element."""
    if moment is None:
        return Markup("never")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"),
        moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
        moment.strftime("%Y-%m-%d"),
    )


def _spoken(span: timedelta, moment: datetime) -> str:
    seconds = span.total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h ago"
    return moment.strftime("%Y-%m-%d")

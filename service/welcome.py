"""What a person at the terminal reads when the service is ready: the way in, and what to do next."""

import shlex
from pathlib import Path
from urllib.parse import urlsplit

from registry.settings import RegistrySettings
from service.dependencies import AppContext
from service.http.security import Principal
from service.private_files import ADMIN_KEY_FILE
from service.settings import ServiceSettings


def welcome(context: AppContext, url: str) -> list[str]:
    """Return the lines, with a new link that logs in. Blocks: it may look for a key in the database.

    Args:
        context: Of the app.
        url: Where it answers on this machine.
    """
    admin = _admin(context)
    minutes = round(context.login_links.lifetime_s / 60)
    if admin is None or not answers_browser(context.settings, url):
        way_in = [f"Ready. Log in with a key: the first one was written to {_key_file(context)}"]
    else:
        way_in = [
            f"Ready. This link logs you in, once, within {minutes} minutes:",
            "",
            f"  {url}{context.login_links.make(admin.key_id)}",
        ]
    return ["", *way_in, "", *_next_steps(context), ""]


def answers_browser(settings: ServiceSettings, url: str) -> bool:
    """Return whether a browser on this machine can log in at `url`, and is not to go through a TLS proxy instead."""
    is_answered = "*" in settings.allowed_hosts or urlsplit(url).hostname in settings.allowed_hosts
    return is_answered and not settings.https_only_cookie


def _admin(context: AppContext) -> Principal | None:
    """Return the first admin key if it is still one, else any: whoever sees our terminal owns the database."""
    context.keys.refresh()
    try:
        first = context.keys.verify(_key_file(context).read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        first = None
    return first if first is not None and first.may("admin") else context.keys.any_admin()


def _next_steps(context: AppContext) -> list[str]:
    lines = ["In a second terminal:"]
    data_dir = context.settings.data_dir
    if data_dir != RegistrySettings.model_fields["data_dir"].default:
        lines.append(f"  export FILOPODIA_DATA_DIR={shlex.quote(str(data_dir.resolve()))}")
    if context.store.all_live():
        lines.append("  filopodia learners        what there is")
    else:
        lines += [
            "  filopodia samples         writes pictures to try it with, and says how",
            "  filopodia learn NAME FOLDER --create    or your own: a folder of one folder a class",
        ]
    return [*lines, "  filopodia login           another link"]


def _key_file(context: AppContext) -> Path:
    return context.settings.data_dir / ADMIN_KEY_FILE

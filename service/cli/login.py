"""`filopodia login`: a link into the dashboard."""

import sys

import typer

from service.cli.options import JsonOption, KeyOption, UrlOption, connect
from service.cli.output import print_json


def login(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Print a link that logs a browser in to the dashboard, once, within ten minutes.

    It can do what the key can that this command uses: on the machine of the service, the first admin key.
    """
    with connect(url, key) as client:
        link = client.create_login_link()
        address = f"{client.url}{link['path']}"
    if as_json:
        print_json({**link, "url": address})
        return
    typer.echo(address)
    if sys.stdout.isatty():
        typer.echo("It works once, within ten minutes.", err=True)

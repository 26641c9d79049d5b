"""What every command line of this package begins as. Cheap to import.

Without postponed annotations: typer evaluates them in the module, where the callback of an option is not known.
"""

from typing import Annotated

import typer


def application(name: str, about: str) -> typer.Typer:
    """A command line without commands: help, and ``--version``."""
    app = typer.Typer(
        name=name,
        help=about,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # keeps paragraphs whole
    )

    def show_version(wanted: bool) -> None:  # noqa: FBT001 - a flag
        if wanted:
            from importlib.metadata import version

            typer.echo(f"{name.replace(' ', '-')} {version('voke-fleet')}")
            raise typer.Exit

    @app.callback()
    def options(
        *,
        version: Annotated[
            bool,
            typer.Option(
                "--version", help="Show the version and exit.", is_eager=True, callback=show_version
            ),
        ] = False,
    ) -> None:
        pass

    return app

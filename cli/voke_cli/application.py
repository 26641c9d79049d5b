"""What every command line of this package begins as. Cheap to import.

Without postponed annotations: typer evaluates them in the module, where the callback of an option is not known.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class _Commands(TyperGroup):
    """Commands whose flags follow them; who puts one before is told so."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in {"--help", "--version"}:
            ctx.fail(f"No such option before a command: {args[0]}; flags follow the command.")
        return super().parse_args(ctx, args)


def application(name: str, about: str) -> typer.Typer:
    """A command line without commands: help, and ``--version``."""
    app = typer.Typer(
        name=name,
        cls=_Commands,
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

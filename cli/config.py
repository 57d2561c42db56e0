"""``dreamfusion3d config``: what a run would be made with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def config() -> None:
    """The settings of a run."""


@app.command()
def show(
    quality: Annotated[str, typer.Option(help="draft, standard or high.")] = "standard",
    preset: Annotated[str | None, typer.Option(help="A known method's settings, as prolificdreamer.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, as optim.steps=800; may be repeated."),
    ] = None,
) -> None:
    """Print every setting as YAML, after quality, preset, file and --set in this order.

    generate takes what it prints back by --config.
    """
    import yaml

    from dreamfusion3d.core.config import config_to_dict, resolve_config

    tree = config_to_dict(resolve_config(quality, config, sets or (), preset=preset))
    for section, values in tree.items():
        print(f"{section}:")
        for name, value in values.items():
            # one line a setting, its lists in brackets, as people write them
            text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
            print(f"  {name}: {text}")

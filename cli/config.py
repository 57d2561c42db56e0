"""``dreamfusion3d config``: print the resolved settings."""

from __future__ import annotations

import typer

from .options import ConfigFile, Preset, Quality, Sets

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show the settings of a run."""


@app.command()
def show(quality: Quality = "standard", preset: Preset = None, config: ConfigFile = None, sets: Sets = None) -> None:
    """Print every setting as YAML.

    Later sources override earlier ones: --quality, --preset, --config, --set.
    The output is a valid file for --config.
    """
    import yaml

    from dreamfusion3d.core.config import config_to_dict, resolve_config

    tree = config_to_dict(resolve_config(quality, config, sets or (), preset=preset))
    for section, values in tree.items():
        print(f"{section}:")
        for name, value in values.items():
            # one setting per line, lists in brackets
            text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
            print(f"  {name}: {text}")

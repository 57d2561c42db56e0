"""Priors of other packages, by entry point.

A package offers one in its pyproject.toml; nothing of it is imported before it is asked for:

    [project.entry-points."dreamfusion3d.priors"]
    mine = "my_package.priors:make"

``make(settings, device)`` gets the run's PriorConfig and torch.device and returns a Prior.
"""

from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from dreamfusion3d.config import PriorConfig
from dreamfusion3d.errors import InputError

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.prior.protocol import Prior

GROUP = "dreamfusion3d.priors"


def names() -> list[str]:
    """Of all plug-ins that are installed, without importing any."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find(settings: PriorConfig, device: torch.device) -> Prior | None:
    """The first plug-in of the wanted name that works; one that does not is named in a warning and
    passed over. None when no plug-in has the name; InputError when none of those that have it works."""
    from dreamfusion3d.prior.protocol import Prior

    broken = []
    for point in entry_points(group=GROUP, name=settings.name):
        try:
            prior = point.load()(settings, device)
            if not isinstance(prior, Prior):
                raise TypeError(f"it made a {type(prior).__name__}, which is no Prior")
        except InputError:
            raise  # the plug-in's own word to the user
        except Exception as error:  # foreign code: whatever it raises, the run may still have another
            broken.append(_said(point, error))
            warnings.warn(f"{broken[-1]}; passed over", stacklevel=2)
            continue
        return prior
    if broken:
        raise InputError(f"{broken[0]}; mend or remove that package, or give another prior with --prior")
    return None


def _said(point: EntryPoint, error: Exception) -> str:
    package = point.dist.name if point.dist else point.value
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    return f"the prior {point.name!r} of the package {package} is broken ({reason})"

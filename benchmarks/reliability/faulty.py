"""``dreamfusion3d`` with workers in which something goes wrong.

    python -m benchmarks.reliability.faulty FAULT[,FAULT...] batch MANIFEST --out DIR ...

FAULT is empty, or the name of a function below. Most faults happen once a folder: DIR/.fault says that
it has happened.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamfusion3d.batch.worker import Task, TaskRunner, TaskStatus, create_asset_runner
from dreamfusion3d.batch.workers import LocalPool
from dreamfusion3d.cli import batch as command, main
from dreamfusion3d.core.progress import Progress

out = Path()  # of the task in hand


def once() -> bool:
    """True the first time in this folder."""
    try:
        os.close(os.open(out / ".fault", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def after(module: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Lets ``change`` have the result of a function, once."""
    plain = getattr(module, name)

    @functools.wraps(plain)
    def changed(*args: Any, **options: Any) -> Any:
        result = plain(*args, **options)
        return change(result) if once() else result

    setattr(module, name, changed)


def nan_denoised() -> None:
    from dreamfusion3d.priors.pixel.prior import PixelPrior

    after(PixelPrior, "denoise", lambda x: x * float("nan"))


def nan_rendered() -> None:
    import dataclasses

    from dreamfusion3d.training import distillation

    def spoil(found: Any) -> Any:
        return dataclasses.replace(found[0], rgb=found[0].rgb * float("nan")), found[1]

    after(distillation, "render_detailed", spoil)


def nan_trained() -> None:
    from dreamfusion3d.training import distillation

    plain = distillation.distill_field

    def spoiled(field: Any, *args: Any, **options: Any) -> Any:
        yield from plain(field, *args, **options)
        if once():
            field.table.data[:] = float("nan")

    distillation.distill_field = spoiled


def nan_extracted() -> None:
    import dataclasses

    from dreamfusion3d.pipelines import surface_extraction

    def spoil(found: Any) -> Any:
        vertices = found.vertices.copy()
        vertices[::7] = float("nan")
        return dataclasses.replace(found, vertices=vertices)

    after(surface_extraction, "surface_of", spoil)


def nan_sampled() -> None:
    spoil_answers("density")


def nan_baked() -> None:
    spoil_answers("albedo")


def spoil_answers(of: str) -> None:
    """The mesh side gets no numbers where it asks the field for its density, or for its colours."""
    from dreamfusion3d.pipelines import surface_extraction

    plain = surface_extraction.as_numpy_function

    def spoiled(function: Callable[..., Any], *args: Any) -> Any:
        ask = plain(function, *args)
        return (lambda x: ask(x) * float("nan")) if function.__name__ == of and once() else ask

    surface_extraction.as_numpy_function = spoiled


def hang() -> None:
    from dreamfusion3d.training import distillation

    def sleep(result: Any) -> Any:
        time.sleep(3600)
        return result

    after(distillation, "render_detailed", sleep)


def starve() -> None:
    """A memory limit that no asset fits; in every worker."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (pages + (24 << 20), resource.RLIM_INFINITY))


def clock() -> None:
    """The clock goes back by an hour with every look at it, down to 1970."""
    plain, steps = time.time, [0]

    def back() -> float:
        steps[0] += 1
        return max(0.0, plain() - 3600.0 * steps[0])

    time.time = back  # type: ignore[assignment]


def short_film() -> None:
    """No fault: half a second of turntable, which else takes longer than all other stages together."""
    from dreamfusion3d.rendering import turntable

    turntable.write_turntable = functools.partial(turntable.write_turntable, seconds=0.5, size=160)


FAULTS = {
    f.__name__: f
    for f in (
        short_film,
        nan_denoised,
        nan_rendered,
        nan_trained,
        nan_sampled,
        nan_extracted,
        nan_baked,
        hang,
        starve,
        clock,
    )
}


def maker(device: str, fault: str) -> TaskRunner:
    make, broken = create_asset_runner(device), []

    def faulty(task: Task, progress: Progress) -> TaskStatus:
        global out
        out = Path(task.out)
        if not broken:
            broken.append(fault)
            for name in fault.split(","):
                FAULTS[name]()
        return make(task, progress)

    return faulty


def team(workers: int | None, devices: str, plain: Callable[..., LocalPool], fault: str) -> LocalPool:
    found = plain(workers, devices)
    return LocalPool(found.devices, found.threads, functools.partial(maker, fault=fault))


if __name__ == "__main__":
    asked = sys.argv.pop(1)
    if asked:
        command._team = functools.partial(  # type: ignore[assignment]
            team, plain=command._team, fault=asked
        )
    main.main()

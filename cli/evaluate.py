"""``evaluate``: figures and a report for finished assets, or for a list of prompts."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import resolved

if TYPE_CHECKING:
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.evaluation.evaluate import Verdict
    from dreamfusion3d.evaluation.subject import Evidence
    from dreamfusion3d.priors.image_text.protocol import Encoder


def evaluate(
    assets: Annotated[
        Path | None, typer.Argument(help="Folder of finished assets, judged as they are.")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="'development', 'reporting' or a text file: made first, then judged.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html and new assets.")] = Path(
        "out/evaluation"
    ),
    prior: Annotated[str, typer.Option(help="'embedded' or a folder that train-prior wrote.")] = "embedded",
    quality: Annotated[str, typer.Option(help="draft, standard or high.")] = "standard",
    seed: Annotated[int, typer.Option(help="Of every asset that is made.")] = 0,
    encoder: Annotated[str, typer.Option(help="'judge', or a folder or hub id of a CLIP model.")] = "judge",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, as optim.steps=800; may be repeated."),
    ] = None,
    mark_weak: Annotated[
        bool, typer.Option("--mark-weak", help="Keep the kinds that lost in the prior's folder.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress; warnings only.")] = False,
) -> None:
    """Judge finished assets: kind, topology, colours, R-precision, view consistency.

    Beside every figure stand what true props get (the best there is) and what misnamed assets
    get (chance). Prints the path of report.html.
    """
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.progress import choose
    from dreamfusion3d.evaluation import prompt_lists
    from dreamfusion3d.pipelines.workspace import check_room, folder_errors
    from dreamfusion3d.priors.image_text.loading import load_encoder
    from dreamfusion3d.priors.vocabulary import folder_of, vocabulary_of
    from dreamfusion3d.priors.vocabulary import mark_weak as record_weak

    if (assets is None) == (prompts is None):
        raise InputError(
            "give either a folder of finished assets or --prompts, for example --prompts reporting"
        )
    check_room(out)
    progress = choose(quiet)
    # stdout carries the report's path alone, whatever a library prints
    with contextlib.closing(progress), contextlib.redirect_stdout(sys.stderr), folder_errors(out):
        rivals = prompt_lists.prompts(prompts or "reporting")
        judge = load_encoder(encoder)
        judge.sentences(rivals[:1])  # before the assets, which take hours
        if prompts is None:
            found = _found(Path() if assets is None else assets)
        else:
            found = _made(rivals, out / "assets", prior, quality, seed, sets or [], progress)
        path, weak = _judged(found, rivals, judge, out, progress)
        if mark_weak:
            prior_folder = folder_of(prior)
            vocabulary_of(prior)  # says in one line what is wrong with a folder
            with folder_errors(prior_folder):
                record_weak(prior_folder, weak)
    print(path)


def _found(folder: Path) -> list[Path]:
    from dreamfusion3d.core.errors import InputError

    found = sorted(path.parent for path in folder.resolve().glob("**/asset.json"))
    if not found:
        raise InputError(f"there is no finished asset in {folder} (no asset.json); make some with text2mesh")
    return found


def _made(
    wanted: list[str], folder: Path, prior: str, quality: str, seed: int, sets: list[str], progress: Progress
) -> list[Path]:
    """The list's assets, those that are done already taken as they are. A prompt that the prior does
    not serve is named and left out."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.slug import check_prompt
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
    from dreamfusion3d.priors.loading import load_prior

    config = resolved({"--prior": prior}, quality, None, sets)
    if "glb" not in config.mesh.formats:
        raise InputError("what is judged is the GLB: leave mesh.formats out, or name glb in it")
    model, served = load_prior(prior), []
    for prompt in map(check_prompt, wanted):
        try:
            model.check_prompt(prompt)
            served.append(prompt)
        except InputError:
            progress.say(f"warning: not served by this prior: {prompt}")
    if not served:
        raise InputError(f"the prior '{prior}' serves none of these prompts")
    progress.stage("make", 1, 3)
    done = []
    for i, prompt in enumerate(served):
        progress.say(f"{i + 1}/{len(served)} {prompt}")
        done.append(text_to_mesh(prompt, out=folder, seed=seed, config=config).folder)
        progress.step(i + 1, len(served), prompt)
    return done


def _evidence(folders: list[Path], progress: Progress) -> list[Evidence]:
    """What can be judged; a damaged asset is named and left out."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.evaluation.subject import of_folder

    found = []
    for folder in folders:
        try:
            found.append(of_folder(folder))
        except InputError as error:
            progress.say(f"warning: left out: {error}")
    if not found:
        raise InputError("none of these assets can be judged")
    return found


def _judged(
    folders: list[Path], rivals: list[str], encoder: Encoder, out: Path, progress: Progress
) -> tuple[Path, list[str]]:
    """Writes the report's two files; the path of the page, and the kinds that lost."""
    from dreamfusion3d.core import files
    from dreamfusion3d.evaluation import evaluate as verdict
    from dreamfusion3d.evaluation.report import page

    found = _ranked(_evidence(folders, progress), encoder, progress)
    prompts = [e.prompt for e in found]
    columns: dict[str, dict[str, Any]] = {}
    verdicts: dict[str, list[Verdict]] = {}
    groups: dict[str, list[Evidence]] = {
        "assets": found, "true props": verdict.perfect(prompts), "misnamed": verdict.misnamed(found),
    }
    progress.stage("judge", 2, 3)
    for name, group in groups.items():
        for done, finished in verdict.judge_all(group, encoder, [*prompts, *rivals]) if group else ():
            progress.step(done, len(group), name)
            if finished is not None:
                verdicts[name], columns[name] = finished, verdict.summary(finished)
    progress.stage("report", 3, 3)
    record = {
        "encoder": encoder.name, "rivals": len({*prompts, *rivals}), "summary": columns,
        **{name: [v.as_dict() for v in group] for name, group in verdicts.items()},
    }
    files.write_json(out / "report.json", record)
    notes = [
        f"{len(found)} assets; retrieval by {encoder.name} among {record['rivals']} prompts, "
        f"{len(set(prompts) & set(rivals))} of the list's {len(rivals)} were judged."
    ]
    with files.replacing(out / "report.html") as temporary:
        temporary.write_text(page("Evaluation", columns, verdicts["assets"], notes), encoding="utf-8")
    for key, value in columns["assets"].items():
        progress.say(f"{key}: {value} (true props {columns.get('true props', {}).get(key)})")
    weak = verdict.weak_kinds(verdicts["assets"])
    progress.say(f"weak kinds: {', '.join(weak) or 'none'}")
    return out / "report.html", weak


def _ranked(found: list[Evidence], encoder: Encoder, progress: Progress) -> list[Evidence]:
    """Those whose prompt the encoder can read."""
    from dreamfusion3d.core.errors import InputError

    kept = []
    for evidence in found:
        try:
            encoder.sentences([evidence.prompt])
            kept.append(evidence)
        except InputError as error:
            progress.say(f"warning: left out: {error}")
    if not kept:
        raise InputError(
            f"the encoder '{encoder.name}' can read none of these prompts; give a CLIP model by --encoder"
        )
    return kept

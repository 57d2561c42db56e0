"""``evaluate``: figures and a report for finished assets, or for a list of prompts."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import resolve_options

if TYPE_CHECKING:
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.evaluation.evaluate import EvalResult
    from dreamfusion3d.evaluation.subject import EvalSubject
    from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder


def evaluate(
    assets: Annotated[Path | None, typer.Argument(help="Folder of finished assets, judged as they are.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="'development', 'reporting' or a text file: made first, then judged.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html and new assets.")] = Path(
        "out/evaluation"
    ),
    prior: Annotated[str, typer.Option(help="'embedded' or a folder that train-prior wrote.")] = "embedded",
    quality: Annotated[str, typer.Option(help="draft, standard or high.")] = "standard",
    seed: Annotated[int, typer.Option(help="Of every asset that is made.")] = 0,
    encoder: Annotated[str, typer.Option(help="'embedded', or a folder or hub id of a CLIP model.")] = "embedded",
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
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.evaluation import prompt_lists
    from dreamfusion3d.pipelines.workspace import check_free_space, translate_folder_errors
    from dreamfusion3d.priors.image_text.loading import load_image_text_encoder
    from dreamfusion3d.priors.vocabulary import load_vocabulary, prior_folder
    from dreamfusion3d.priors.vocabulary import write_weak_categories as record_weak

    if (assets is None) == (prompts is None):
        raise InputError("give either a folder of finished assets or --prompts, for example --prompts reporting")
    check_free_space(out)
    progress = default_progress(quiet)
    # stdout carries the report's path alone, whatever a library prints
    with contextlib.closing(progress), contextlib.redirect_stdout(sys.stderr), translate_folder_errors(out):
        candidate_prompts = prompt_lists.load_prompt_list(prompts or "reporting")
        image_text_encoder = load_image_text_encoder(encoder)
        image_text_encoder.encode_texts(candidate_prompts[:1])  # before the assets, which take hours
        if prompts is None:
            found = _find_assets(Path() if assets is None else assets)
        else:
            found = _make_assets(candidate_prompts, out / "assets", prior, quality, seed, sets or [], progress)
        path, weak_categories = _evaluate_and_report(found, candidate_prompts, image_text_encoder, out, progress)
        if mark_weak:
            weights_folder = prior_folder(prior)
            load_vocabulary(prior)  # says in one line what is wrong with a folder
            with translate_folder_errors(weights_folder):
                record_weak(weights_folder, weak_categories)
    print(path)


def _find_assets(folder: Path) -> list[Path]:
    from dreamfusion3d.core.errors import InputError

    folders = sorted(path.parent for path in folder.resolve().glob("**/asset.json"))
    if not folders:
        raise InputError(f"there is no finished asset in {folder} (no asset.json); make some with text2mesh")
    return folders


def _make_assets(
    prompts: list[str], folder: Path, prior: str, quality: str, seed: int, sets: list[str], progress: Progress
) -> list[Path]:
    """The list's assets, those that are done already taken as they are. A prompt that the prior does
    not serve is named and left out."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.runtime import configure_process
    from dreamfusion3d.core.slug import check_prompt
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
    from dreamfusion3d.priors.loading import load_prior

    config = resolve_options({"--prior": prior}, quality, None, sets)
    if "glb" not in config.mesh.formats:
        raise InputError("what is judged is the GLB: leave mesh.formats out, or name glb in it")
    model, served = load_prior(prior), []
    for prompt in map(check_prompt, prompts):
        try:
            model.check_prompt(prompt)
            served.append(prompt)
        except InputError:
            progress.warn(f"not served by this prior: {prompt}")
    if not served:
        raise InputError(f"the prior '{prior}' serves none of these prompts")
    configure_process(retain_freed_memory=True)
    progress.stage("make", 1, 3)
    done = []
    for i, prompt in enumerate(served):
        progress.log(f"{i + 1}/{len(served)} {prompt}")
        done.append(text_to_mesh(prompt, out=folder, seed=seed, config=config).folder)
        progress.step(i + 1, len(served), prompt)
    return done


def _load_subjects(folders: list[Path], progress: Progress) -> list[EvalSubject]:
    """What can be judged; a damaged asset is named and left out."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.evaluation.subject import load_subject

    subjects = []
    for folder in folders:
        try:
            subjects.append(load_subject(folder))
        except InputError as error:
            progress.warn(f"left out: {error}")
    if not subjects:
        raise InputError("none of these assets can be judged")
    return subjects


def _evaluate_and_report(
    folders: list[Path], candidate_prompts: list[str], encoder: ImageTextEncoder, out: Path, progress: Progress
) -> tuple[Path, list[str]]:
    """Writes the report's two files; the path of the page, and the kinds that lost."""
    from dreamfusion3d.core import files
    from dreamfusion3d.evaluation import evaluate as evaluation
    from dreamfusion3d.evaluation.report import report_html

    subjects = _encodable_subjects(_load_subjects(folders, progress), encoder, progress)
    prompts = [e.prompt for e in subjects]
    columns: dict[str, dict[str, Any]] = {}
    results: dict[str, list[EvalResult]] = {}
    groups: dict[str, list[EvalSubject]] = {
        "assets": subjects,
        "ground truth": evaluation.upper_bound_subjects(prompts),
        "mislabeled": evaluation.mislabeled_subjects(subjects),
    }
    progress.stage("judge", 2, 3)
    for name, group in groups.items():
        if not group:
            continue
        results[name] = []
        for result in evaluation.evaluate_subjects(group, encoder, [*prompts, *candidate_prompts]):
            results[name].append(result)
            progress.step(len(results[name]), len(group), name)
        columns[name] = evaluation.summarize_results(results[name])
    progress.stage("report", 3, 3)
    record = {
        "encoder": encoder.name,
        "candidate_prompts": len({*prompts, *candidate_prompts}),
        "summary": columns,
        **{name: [v.as_dict() for v in group] for name, group in results.items()},
    }
    files.write_json(out / "report.json", record)
    notes = [
        f"{len(subjects)} assets; retrieval by {encoder.name} among {record['candidate_prompts']} prompts, "
        f"{len(set(prompts) & set(candidate_prompts))} of the list's {len(candidate_prompts)} were evaluated."
    ]
    with files.atomic_write(out / "report.html") as temporary:
        temporary.write_text(report_html("Evaluation", columns, results["assets"], notes), encoding="utf-8")
    for key, value in columns["assets"].items():
        progress.log(f"{key}: {value} (ground truth {columns.get('ground truth', {}).get(key)})")
    weak_categories = evaluation.find_weak_categories(results["assets"])
    progress.log(f"weak kinds: {', '.join(weak_categories) or 'none'}")
    return out / "report.html", weak_categories


def _encodable_subjects(
    subjects: list[EvalSubject], encoder: ImageTextEncoder, progress: Progress
) -> list[EvalSubject]:
    """Those whose prompt the encoder can read."""
    from dreamfusion3d.core.errors import InputError

    encodable = []
    for subject in subjects:
        try:
            encoder.encode_texts([subject.prompt])
            encodable.append(subject)
        except InputError as error:
            progress.warn(f"left out: {error}")
    if not encodable:
        raise InputError(f"the encoder '{encoder.name}' can read none of these prompts; give a CLIP model by --encoder")
    return encodable

"""``dreamfusion3d evaluate``: metrics and a report for finished assets or a list of prompts."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import PixelPriorName, Quality, Quiet, Sets, resolve_options
from .report import stdout_to_stderr

if TYPE_CHECKING:
    from dreamfusion3d.core.progress import Progress
    from dreamfusion3d.evaluation.evaluate import EvalResult
    from dreamfusion3d.evaluation.subject import EvalSubject
    from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder

GROUND_TRUTH, MISLABELED = "ground truth", "mislabeled"


def evaluate(
    assets: Annotated[Path | None, typer.Argument(help="Folder of finished assets to evaluate.")] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Generate and evaluate these prompts: 'development', 'reporting', 'world' or a text file."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder for report.json, report.html and new assets.")] = Path(
        "out/evaluation"
    ),
    prior: PixelPriorName = "embedded",
    quality: Quality = "standard",
    seed: Annotated[int, typer.Option(help="Seed of every generated asset.")] = 0,
    encoder: Annotated[
        str, typer.Option(help="Image-text encoder: 'embedded', or a folder or hub id of a CLIP model.")
    ] = "embedded",
    sets: Sets = None,
    mark_weak: Annotated[
        bool, typer.Option("--mark-weak", help="Record the weak categories in the prior's folder.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate finished assets: category, topology, colors, R-precision, view consistency, surface and variety.

    The report shows each metric next to its upper bound (ground truth) and chance (mislabeled assets).
    Prints the path of report.html.
    """
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.core.progress import default_progress
    from dreamfusion3d.evaluation import prompt_lists
    from dreamfusion3d.priors.image_text.loading import load_image_text_encoder
    from dreamfusion3d.priors.vocabulary import load_vocabulary, prior_folder, write_weak_categories

    if (assets is None) == (prompts is None):
        raise InputError("give either a folder of finished assets or --prompts, e.g. --prompts reporting")
    check_free_space(out)
    progress = default_progress(quiet)
    with contextlib.closing(progress), stdout_to_stderr(), translate_folder_errors(out):
        candidate_prompts = prompt_lists.load_prompt_list(prompts or "reporting")
        image_text_encoder = load_image_text_encoder(encoder)
        image_text_encoder.encode_texts(candidate_prompts[:1])  # fail now rather than after hours of generation
        if assets is not None:
            folders = _find_assets(assets)
        else:
            folders = _generate_assets(candidate_prompts, out / "assets", prior, quality, seed, sets or [], progress)
        path, weak_categories = _evaluate_and_report(folders, candidate_prompts, image_text_encoder, out, progress)
        if mark_weak:
            weights_folder = prior_folder(prior)
            load_vocabulary(prior)  # raises if the folder holds no pixel prior
            with translate_folder_errors(weights_folder):
                write_weak_categories(weights_folder, weak_categories)
    print(path)


def _find_assets(folder: Path) -> list[Path]:
    from dreamfusion3d.core.errors import InputError

    folders = sorted(path.parent for path in folder.resolve().glob("**/asset.json"))
    if not folders:
        raise InputError(f"no finished asset in {folder} (no asset.json): generate some with text2mesh")
    return folders


def _generate_assets(
    prompts: list[str], folder: Path, prior: str, quality: str, seed: int, sets: list[str], progress: Progress
) -> list[Path]:
    """Generate the assets that do not exist yet; skip prompts that the prior does not support."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.core.runtime import configure_process
    from dreamfusion3d.core.slug import check_prompt
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
    from dreamfusion3d.priors.loading import load_prior
    from dreamfusion3d.priors.view_prompts import text_to_mesh_warnings

    config = resolve_options({"--prior": prior}, quality, None, sets)
    if "glb" not in config.mesh.formats:
        raise InputError("the evaluation reads GLB files: include glb in mesh.formats")
    model, supported = load_prior(prior), []
    for prompt in map(check_prompt, prompts):
        try:
            text_to_mesh_warnings(model, prompt, config)
            supported.append(prompt)
        except InputError:
            progress.warn(f"skipped, not supported by this prior: {prompt}")
    if not supported:
        raise InputError(f"the prior '{prior}' supports none of these prompts")
    configure_process(retain_freed_memory=True)
    progress.stage("generate", 1, 3)
    folders = []
    for i, prompt in enumerate(supported):
        progress.log(f"{i + 1}/{len(supported)} {prompt}")
        folders.append(text_to_mesh(prompt, out=folder, seed=seed, config=config).folder)
        progress.step(i + 1, len(supported), prompt)
    return folders


def _load_subjects(folders: list[Path], encoder: ImageTextEncoder, progress: Progress) -> list[EvalSubject]:
    """Load the assets, skipping damaged ones and those whose prompt the encoder cannot read."""
    from dreamfusion3d.core.errors import InputError
    from dreamfusion3d.evaluation.subject import load_subject

    subjects, encodable = [], []
    for folder in folders:
        try:
            subjects.append(load_subject(folder))
        except InputError as error:
            progress.warn(f"skipped: {error}")
    if not subjects:
        raise InputError("none of these assets can be evaluated")
    for subject in subjects:
        try:
            encoder.encode_texts([subject.prompt])
            encodable.append(subject)
        except InputError as error:
            progress.warn(f"skipped: {error}")
    if not encodable:
        raise InputError(f"the encoder '{encoder.name}' can read none of these prompts: give a CLIP model to --encoder")
    return encodable


def _evaluate_and_report(
    folders: list[Path], candidate_prompts: list[str], encoder: ImageTextEncoder, out: Path, progress: Progress
) -> tuple[Path, list[str]]:
    """Write report.json and report.html; return the path of the page and the weak categories."""
    from dreamfusion3d.core import files
    from dreamfusion3d.evaluation import evaluate as evaluation
    from dreamfusion3d.evaluation.report import report_html
    from dreamfusion3d.evaluation.variety import evaluate_variety

    subjects = _load_subjects(folders, encoder, progress)
    prompts = [subject.prompt for subject in subjects]
    columns: dict[str, dict[str, Any]] = {}
    variety: dict[str, list[dict[str, Any]]] = {}
    results: dict[str, list[EvalResult]] = {}
    groups: dict[str, list[EvalSubject]] = {
        "assets": subjects,
        GROUND_TRUTH: evaluation.upper_bound_subjects(prompts),
        MISLABELED: evaluation.mislabeled_subjects(subjects),
    }
    progress.stage("evaluate", 2, 3)
    for name, group in groups.items():
        if not group:
            continue
        results[name] = []
        for result in evaluation.evaluate_subjects(group, encoder, [*prompts, *candidate_prompts]):
            results[name].append(result)
            progress.step(len(results[name]), len(group), name)
        varieties = evaluate_variety(group)
        columns[name] = evaluation.summarize_results(results[name], varieties)
        variety[name] = [dataclasses.asdict(v) for v in varieties]
    progress.stage("report", 3, 3)
    num_prompts = len({*prompts, *candidate_prompts})
    record = {
        "encoder": encoder.name,
        "candidate_prompts": num_prompts,
        "summary": columns,
        "variety": variety,
        **{name: [v.as_dict() for v in group] for name, group in results.items()},
    }
    files.write_json(out / "report.json", record)
    notes = [
        f"{len(subjects)} assets; retrieval by {encoder.name} among {num_prompts} prompts; assets for "
        f"{len(set(prompts) & set(candidate_prompts))} of the list's {len(candidate_prompts)} prompts."
    ]
    with files.atomic_write(out / "report.html") as temporary:
        temporary.write_text(report_html("Evaluation", columns, results["assets"], notes), encoding="utf-8")
    for key, value in columns["assets"].items():
        progress.log(f"{key}: {value} (ground truth {columns.get(GROUND_TRUTH, {}).get(key)})")
    weak_categories = evaluation.find_weak_categories(results["assets"])
    progress.log(f"weak categories: {', '.join(weak_categories) or 'none'}")
    return out / "report.html", weak_categories

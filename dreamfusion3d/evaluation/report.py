"""Self-contained HTML report of an evaluation."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
from collections.abc import Sequence
from typing import Any

import imageio.v3 as iio
import numpy as np

from dreamfusion3d.evaluation.evaluate import EvalResult
from dreamfusion3d.priors.image_text.protocol import composite_over_gray

METRIC_LABELS = {
    "assets": "assets",
    "category_correct": "correct category",
    "iou": "IoU with the best reference",
    "r_precision": "R-precision, textured",
    "r_precision_textureless": "R-precision, textureless",
    "colors_correct": "correct colors",
    "colors_named": "named colors",
    "genus_correct": "correct genus",
    "watertight": "watertight",
    "one_component": "one component",
    "janus_score": "multi-face score",
    "repeated_fronts": "repeated fronts",
    "surfaces_compared": "surfaces compared with the true object",
    "normal_angle_mean_deg": "normals: mean angle",
    "normal_angle_median_deg": "normals: median angle",
    "normals_within_10_deg": "normals within 10°",
    "chamfer": "chamfer distance / diagonal",
    "f_score": "F-score at 0.5 % of the diagonal",
    "right_part_color": "surface in the color of its part",
    "roughness_error": "error of the roughness",
    "right_metallic": "surface rightly a metal or not",
    "base_color_psnr_db": "PSNR, base color",
    "base_color_ssim": "SSIM, base color",
    "shaded_psnr_db": "PSNR, shaded",
    "shaded_ssim": "SSIM, shaded",
    "variety_ratio": "variety over seeds / true variety, chamfer",
    "variety_iou_ratio": "variety over seeds / true variety, 1 - IoU",
}
_NUMBER_FORMATS = {  # of those that are not fractions in percent
    **dict.fromkeys(("assets", "colors_named", "surfaces_compared"), "{}"),
    **dict.fromkeys(("iou", "janus_score", "roughness_error", "base_color_ssim", "shaded_ssim"), "{:.3f}"),
    **dict.fromkeys(("normal_angle_mean_deg", "normal_angle_median_deg"), "{:.1f}°"),
    **dict.fromkeys(("base_color_psnr_db", "shaded_psnr_db"), "{:.1f} dB"),
    **dict.fromkeys(("variety_ratio", "variety_iou_ratio"), "{:.2f}"),
    "chamfer": "{:.2%}",
}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem;background:#fafafa;color:#222}
table{border-collapse:collapse;margin:1rem 0 2rem}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;
text-align:right}td:first-child,th:first-child{text-align:left}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:1rem}
.card{background:#fff;border:1px solid #ddd;border-radius:8px;padding:.8rem}
.card img{width:100%;image-rendering:pixelated;border-radius:4px}
.card h2{font-size:1rem;margin:.4rem 0}.bad{color:#b00020;font-weight:600}.good{color:#2e7d32}
ul{margin:.3rem 0;padding-left:1.1rem}
"""


def report_html(
    title: str, columns: dict[str, dict[str, Any]], results: Sequence[EvalResult], notes: Sequence[str] = ()
) -> str:
    """Render the summaries side by side, then one card per asset, worst first."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = ""
    for key, label in METRIC_LABELS.items():
        cells = "".join(f"<td>{_format_metric(c.get(key), key)}</td>" for c in columns.values())
        body += f"<tr><td>{label}</td>{cells}</tr>"
    cards = "".join(_card(result) for result in sorted(results, key=_sort_key))
    paragraphs = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>{paragraphs}"
        f"<table><tr><th></th>{head}</tr>{body}</table><div class=grid>{cards}</div></html>"
    )


def _format_metric(value: Any, key: str) -> str:
    return "-" if value is None else _NUMBER_FORMATS.get(key, "{:.1%}").format(value).replace("%", " %")


def find_faults(result: EvalResult) -> list[str]:
    """Describe everything that is wrong with an asset."""
    out = []
    if result.geometry is not None:
        g = result.geometry
        if not g.category_correct:
            out.append(f"more similar to a {g.best_other_category} (IoU {g.best_other_iou:.2f} against {g.iou:.2f})")
        if not g.genus_correct:
            out.append(f"genus {g.genus}, expected {g.expected_genus}")
        if not g.watertight:
            out.append("not watertight")
        if g.components != 1:
            out.append(f"{g.components} components")
    out += [f"{c.part} part is {c.observed}, expected {c.expected}" for c in result.colors if not c.correct]
    if result.consistency is not None and result.consistency.has_repeated_front:
        side = int(np.argmax(result.consistency.excess))
        out.append(f"front repeated at {result.consistency.azimuth_deg[side]:.0f} degrees")
    if result.spec is not None and result.surface is None:
        out.append("no surface")
    if result.rank != 1:
        out.append(f"its prompt ranks {result.rank}, not first")
    return out


def _sort_key(result: EvalResult) -> tuple[int, float]:
    return -len(find_faults(result)), result.geometry.iou if result.geometry else 0.0


def _card(result: EvalResult) -> str:
    faults = find_faults(result)
    lines = "".join(f"<li class=bad>{html.escape(w)}</li>" for w in faults)
    lines = lines or "<li class=good>nothing wrong</li>"
    figures = f"rank {result.rank}, textureless {result.textureless_rank}"
    if result.geometry is not None:
        g = result.geometry
        figures = f"IoU {g.iou:.2f}, next {g.best_other_category} {g.best_other_iou:.2f}, {figures}"
    for part in (result.surface, result.likeness):
        if part is not None:
            values = dataclasses.asdict(part).items()
            figures += "<br>" + ", ".join(f"{METRIC_LABELS[k]} {_format_metric(v, k)}" for k, v in values)
    return (
        f"<div class=card><img alt='' src='data:image/png;base64,{_views_png(result)}'>"
        f"<h2>{html.escape(result.subject.prompt)}</h2><ul>{lines}</ul><small>{figures}</small></div>"
    )


def _views_png(result: EvalResult) -> str:
    """PNG of four views, 90 degrees apart, above the same views without texture; base64."""
    rows = [composite_over_gray(views[::2]) for views in (result.subject.views, result.subject.textureless_views)]
    image = np.concatenate([np.concatenate(list(row), 1) for row in rows])
    stream = io.BytesIO()
    iio.imwrite(stream, (image * 255).round().astype(np.uint8), extension=".png")
    return base64.b64encode(stream.getvalue()).decode()

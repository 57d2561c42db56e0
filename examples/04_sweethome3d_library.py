"""Make a folder of captioned meshes from Debian's sweethome3d-furniture, for `train-prior --assets-from`.

    python examples/04_sweethome3d_library.py out/furniture
    dreamfusion3d train-prior out/studio --assets-from out/furniture

The package is downloaded with apt-get and unpacked with dpkg-deb; on other systems, give its archives with --archive.
Models are public domain (CC0) by default; --attribution adds those that ask for credit (CC-BY 3.0), which the
prior's folder and each asset.json record. Doors, windows and people are left out.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PACKAGE = "sweethome3d-furniture"
FREE_ARCHIVE = "BlendSwap-CC-0"
SKIPPED_CATEGORIES = {"Doors and windows", "Characters", "People"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--archive", type=Path, action="append", help="a .sh3f file; those of the package by default")
    parser.add_argument("--attribution", action="store_true", help="include models under CC-BY 3.0")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        archives = options.archive or download_archives(Path(temporary))
        lines: list[dict[str, object]] = []
        for archive in archives:
            if options.attribution or archive.stem == FREE_ARCHIVE:
                lines += unpack_models(archive, options.out)
    if not lines:
        parser.error(f"no archive is named {FREE_ARCHIVE}; add --attribution for models that ask for credit")
    (options.out / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"{options.out}: {len(lines)} models, {len({line['text'] for line in lines})} captions")


def download_archives(folder: Path) -> list[Path]:
    """Download and unpack the Debian package."""
    subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True)
    package = next(folder.glob("*.deb"))
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return sorted(folder.glob("usr/share/sweethome3d/furniture/*.sh3f"))


def unpack_models(archive: Path, out: Path) -> Iterator[dict[str, object]]:
    """Write the models of an archive into ``out`` and yield the metadata of each."""
    license_name = "CC0-1.0" if archive.stem == FREE_ARCHIVE else "CC-BY-3.0"
    with zipfile.ZipFile(archive) as files:
        for model in read_catalog(files.read("PluginFurnitureCatalog.properties").decode("latin-1")):
            if model.get("doorOrWindow") == "true" or model.get("category") in SKIPPED_CATEGORIES:
                continue
            path = model["model"].lstrip("/")
            folder = path.rpartition("/")[0]
            for name in files.namelist():
                if name.startswith(f"{folder}/") and not name.endswith((".txt", "/")):
                    files.extract(name, out)
            if "modelRotation" in model:
                rotate_obj(out / path, np.array(model["modelRotation"].split(), float).reshape(3, 3))
            yield {
                "file_name": path,
                "text": caption(model["name"]),
                "creator": model.get("creator", "unknown"),
                "license": license_name,
                "source": f"{PACKAGE} {archive.stem}",
                "height_m": round(float(model["height"]) / 100, 4),
            }


def read_catalog(text: str) -> list[dict[str, str]]:
    """Read the numbered entries of a Java properties file."""
    models: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*)$", text, re.MULTILINE):
        models.setdefault(int(number), {})[key] = value.strip()
    return [model for _, model in sorted(models.items()) if "model" in model]


def caption(name: str) -> str:
    """Turn a name such as "Armchair 2" into a caption."""
    words = re.sub(r"[\W\d_]+", " ", name.lower()).split() or ["object"]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def rotate_obj(path: Path, rotation: np.ndarray) -> None:
    """Rotate the vertices and normals of an OBJ file, in place."""
    lines = path.read_text(encoding="latin-1").split("\n")
    for i, line in enumerate(lines):
        name, *values = line.split() or [""]
        if name in ("v", "vn"):
            lines[i] = f"{name} {' '.join(f'{x:.6g}' for x in rotation @ np.array(values[:3], float))}"
    path.write_text("\n".join(lines), encoding="latin-1")


if __name__ == "__main__":
    main()

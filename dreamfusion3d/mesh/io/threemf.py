"""Write 3MF: a closed mesh for 3D printers with a texture.

trimesh's writer omits the texture, always declares millimeters and generates random ids. Implements the
core specification 1.3 and the materials extension 1.2.1 of the 3MF Consortium.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from dreamfusion3d.core.files import write_bytes
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.geometry import weld_vertices
from dreamfusion3d.mesh.io.axes import CoordinateFrame, Units, to_frame
from dreamfusion3d.mesh.io.gltf import GENERATOR, Extras, encode_png

UNIT_NAMES: dict[Units, str] = {"m": "meter", "cm": "centimeter", "mm": "millimeter"}
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # timestamp of every entry: the same mesh gives the same bytes
XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
MODEL_PATH, TEXTURE_PATH = "/3D/3dmodel.model", "/3D/Textures/texture.png"
RELATIONSHIPS_NAMESPACE = "http://schemas.openxmlformats.org/package/2006/relationships"
RELATIONSHIP_TYPE = "http://schemas.microsoft.com/3dmanufacturing/2013/01"
CORE_NAMESPACE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
MATERIAL_NAMESPACE = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
CONTENT_TYPES = f"""{XML_DECLARATION}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
<Default Extension="png" ContentType="image/png"/>
</Types>
"""


def write_3mf(textured: TexturedMesh, path: Path, name: str, extras: Extras, frame: CoordinateFrame) -> list[Path]:
    """Write one object called ``name`` with its unit, and ``extras`` as metadata.

    3MF is right-handed with +Z up; a frame with +Y up is written as it is and lies on its back.
    """
    parts = {
        "[Content_Types].xml": CONTENT_TYPES.encode(),
        "_rels/.rels": _relationships_xml(MODEL_PATH, f"{RELATIONSHIP_TYPE}/3dmodel"),
        MODEL_PATH.lstrip("/"): _model_xml(textured, name, extras, frame).encode(),
        "3D/_rels/3dmodel.model.rels": _relationships_xml(TEXTURE_PATH, f"{RELATIONSHIP_TYPE}/3dtexture"),
        TEXTURE_PATH.lstrip("/"): encode_png(textured.texture),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for inner, data in parts.items():
            archive.writestr(zipfile.ZipInfo(inner, ZIP_EPOCH), data, zipfile.ZIP_DEFLATED)
    write_bytes(path, stream.getvalue())
    return [path]


def _relationships_xml(target: str, type_uri: str) -> bytes:
    relationship = f'<Relationship Target="{target}" Id="rel0" Type="{type_uri}"/>'
    xml = f'{XML_DECLARATION}<Relationships xmlns="{RELATIONSHIPS_NAMESPACE}">{relationship}</Relationships>\n'
    return xml.encode()


def _model_xml(textured: TexturedMesh, name: str, extras: Extras, frame: CoordinateFrame) -> str:
    first, position_index = weld_vertices(textured.vertices)
    vertices, faces = to_frame(textured, frame).vertices[first], textured.faces
    # nine digits distinguish any two float32 numbers
    points = "".join(f'<vertex x="{x:.9g}" y="{y:.9g}" z="{z:.9g}"/>\n' for x, y, z in vertices.tolist())
    corners = "".join(f'<m:tex2coord u="{u:.7g}" v="{v:.7g}"/>\n' for u, v in textured.uv.tolist())
    # vertex of the closed mesh (v) and of the UV atlas (p) for each corner
    triangles = "".join(
        f'<triangle v1="{a}" v2="{b}" v3="{c}" pid="2" p1="{i}" p2="{j}" p3="{k}"/>\n'
        for (a, b, c), (i, j, k) in zip(position_index[faces].tolist(), faces.tolist(), strict=True)
    )
    return (
        f'{XML_DECLARATION}<model unit="{UNIT_NAMES[frame.units]}" xml:lang="en-US" xmlns="{CORE_NAMESPACE}" '
        f'xmlns:m="{MATERIAL_NAMESPACE}" xmlns:d="urn:{GENERATOR}">\n'
        f"{_metadata_xml(name, extras)}<resources>\n"
        f'<m:texture2d id="1" path="{TEXTURE_PATH}" contenttype="image/png"'
        ' tilestyleu="clamp" tilestylev="clamp"/>\n'
        f'<m:texture2dgroup id="2" texid="1">\n{corners}</m:texture2dgroup>\n'
        f'<object id="3" type="model" name={quoteattr(name)} pid="2" pindex="0">\n'
        f"<mesh>\n<vertices>\n{points}</vertices>\n<triangles>\n{triangles}</triangles>\n</mesh>\n"
        f'</object>\n</resources>\n<build>\n<item objectid="3"/>\n</build>\n</model>\n'
    )


def _metadata_xml(name: str, extras: Extras) -> str:
    """Encode metadata, by names of the core specification or else in a namespace of our own."""
    standard_names = {"prompt": "Description", "generator": "Application", "license": "LicenseTerms"}
    entries = {"Title": name, **{standard_names.get(key, f"d:{key}"): value for key, value in extras.items()}}
    return "".join(f"<metadata name={quoteattr(k)}>{escape(str(v))}</metadata>\n" for k, v in entries.items())

"""Packages are found here, because the declarative form cannot both search and rename.

cli/ lies beside the library and is installed inside it: a top-level package named `cli` would clash.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["dreamfusion3d", "dreamfusion3d.*"]), "dreamfusion3d.cli"],
    package_dir={"dreamfusion3d": "dreamfusion3d", "dreamfusion3d.cli": "cli"},
)

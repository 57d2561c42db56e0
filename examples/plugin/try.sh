#!/usr/bin/env bash
# Install dreamfusion3d and this package into a fresh environment as a user would (neither editable), and make a ball
# with this package's prior and guidance, selected by options alone.
#   examples/plugin/try.sh FOLDER      FOLDER must not exist yet; takes a minute or two
set -euo pipefail
clone=$(cd "$(dirname "$0")/../.." && pwd)
fresh=${1:?name a folder that does not exist yet}
if [ -e "$fresh" ]; then echo "$fresh exists already; name another folder" >&2; exit 2; fi
python3 -m venv "$fresh"
"$fresh/bin/pip" install --quiet -c "$clone/constraints.txt" "$clone" "$clone/examples/plugin"
cd "$fresh"  # so that the clone is not importable
for guidance in sds toy; do
    bin/text2mesh "a red ball" --prior toy --guidance "$guidance" --quality draft --out "out/$guidance" --quiet \
        --set optim.steps=60 --set mesh.grid_resolution=48 --set mesh.max_faces=2000 --set mesh.texture_size=256
done

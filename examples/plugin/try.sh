#!/usr/bin/env bash
# A fresh environment, dreamfusion3d and this package installed into it as a user does (neither editable), and a
# ball made by this package's prior and guidance, named by options alone.
#   examples/plugin/try.sh FOLDER      a folder that does not exist yet; a minute or two
set -euo pipefail
clone=$(cd "$(dirname "$0")/../.." && pwd)
fresh=${1:?name a folder that does not exist yet}
if [ -e "$fresh" ]; then echo "$fresh exists already; name another folder" >&2; exit 2; fi
python3 -m venv "$fresh"
"$fresh/bin/pip" install --quiet -c "$clone/constraints.txt" "$clone" "$clone/examples/plugin"
cd "$fresh"  # the clone is not to be found from here
for guidance in sds toy; do
    bin/text2mesh "a red ball" --prior toy --guidance "$guidance" --quality draft --out "out/$guidance" --quiet \
        --set optim.steps=60 --set mesh.grid_resolution=48 --set mesh.max_faces=2000 --set mesh.texture_size=256
done

#!/bin/sh
# Installs the worker's image: install.sh DIST TARGET, DIST as wheel.sh left it, TARGET a virtual environment to make.
# The Dockerfile runs this, and so do the tests: what goes into the image is what they ran.
set -eu
dist=$1
target=$2
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
    -r "$dist/requirements-worker.txt"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$dist"/wattledger-*.whl
"$target/bin/python" -m pip check
"$target/bin/python" -m compileall -q "$target/lib"
cp "$dist/sbom-worker.cdx.json" "$target/sbom.cdx.json"

# Workers, topics, migrations and pollers speak to servers: no embedded database, no web service.
"$target/bin/python" - <<'PYTHON'
import importlib.util

unwanted = ["chdb", "fastapi", "uvicorn", "pynvml"]
found = [name for name in unwanted if importlib.util.find_spec(name)]
assert not found, f"these have no business in this image: {found}"
PYTHON
for command in worker topics migrate factors repair rollup dead-letters books tenants; do "$target/bin/wattledger" "$command" --help >/dev/null; done
"$target/bin/python" -m pip uninstall --quiet --yes pip

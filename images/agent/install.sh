#!/bin/sh
# Installs the agent's image: install.sh DIST TARGET, DIST as wheel.sh left it, TARGET a virtual environment to make.
# The Dockerfile runs this, and so do the tests: what goes into the image is what they ran.
set -eu
dist=$1
target=$2
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
    -r "$dist/requirements-agent.txt"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$dist"/wattledger-*.whl
"$target/bin/python" -m pip check
"$target/bin/python" -m compileall -q "$target/lib"
cp "$dist/sbom-agent.cdx.json" "$target/sbom.cdx.json"

# A node with GPUs runs engines: the agent brings neither a stream processor nor a database.
"$target/bin/python" - <<'PYTHON'
import importlib.util

unwanted = ["faust", "aiokafka", "chdb", "clickhouse_connect", "pyarrow", "numba", "fastapi"]
found = [name for name in unwanted if importlib.util.find_spec(name)]
assert not found, f"these have no business in this image: {found}"
PYTHON
for command in agent; do "$target/bin/wattledger" "$command" --help >/dev/null; done
"$target/bin/python" -m pip uninstall --quiet --yes pip

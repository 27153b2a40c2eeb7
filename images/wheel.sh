#!/bin/sh
# Builds what a role's image is installed from: wheel.sh ROLE DIST
#
#   DIST/wattledger-*.whl        this checkout
#   DIST/requirements-ROLE.txt   what the role needs, each by version and hash, from uv.lock
#   DIST/sbom-ROLE.cdx.json      the same as a bill of materials (CycloneDX)
#
# Needs uv (tools/uv) and a package index; the Dockerfiles and the tests run this file.
set -eu
role=$1
dist=$2
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
case "$role" in
    agent) parts="--extra agent" ;;
    # Servers only: the embedded ClickHouse is for laptops, and half a gigabyte.
    worker) parts="--extra worker --extra otel --prune chdb --prune chdb-core" ;;
    api) parts="--extra api --extra otel" ;;
    *) echo "wheel.sh: $role is no role: agent, worker or api" >&2; exit 2 ;;
esac
mkdir -p "$dist"
dist=$(CDPATH= cd -- "$dist" && pwd)
cd "$root"
[ -n "$(find "$dist" -name 'wattledger-*.whl')" ] || tools/uv build --quiet --wheel --out-dir "$dist"
# shellcheck disable=SC2086 # words are wanted
tools/uv export --quiet --frozen --no-dev --no-emit-project $parts --output-file "$dist/requirements-$role.txt"
# shellcheck disable=SC2086
tools/uv export --quiet --frozen --no-dev $parts --format cyclonedx1.5 --output-file "$dist/sbom-$role.cdx.json"

#!/bin/sh
# Builds and pushes a role's image, its base pinned by digest: build.sh ROLE IMAGE:TAG
#
# PYTHON_IMAGE may name another base, with or without a digest (name@sha256:…); without one, the digest that the tag
# has now is looked up, used and printed, so that the build can be repeated. Needs docker with buildx.
set -eu
role=$1
image=$2
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
base=${PYTHON_IMAGE:-python:3.13-slim-bookworm}
case "$base" in
    *@sha256:*) ;;
    *) base="$base@$(docker buildx imagetools inspect "$base" --format '{{.Manifest.Digest}}')" ;;
esac
echo "base: $base"
docker buildx build --push --sbom=true --provenance=mode=max \
    --platform "${PLATFORMS:-linux/amd64,linux/arm64}" \
    --build-arg "PYTHON_IMAGE=$base" --file "$root/images/$role/Dockerfile" --tag "$image" "$root"
docker buildx imagetools inspect "$image" --format "$image@{{.Manifest.Digest}}"

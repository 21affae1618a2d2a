#!/bin/sh
# Build one of the images: docker/build.sh service-cpu TAG [CONTEXT]. It uses a Docker engine if there is one. Otherwise
# BUILD_IMAGE (a wrapper of buildah with substitutes for the base images) builds the same Dockerfile without its digests.
set -eu
name=$1 tag=$2 context=${3:-$(dirname "$0")/..}
dockerfile=$context/docker/$name.Dockerfile
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$context/core/liveness_core/__init__.py")
revision=$(git -C "$context" rev-parse HEAD 2>/dev/null || echo unknown)

if docker version >/dev/null 2>&1; then
  exec docker build --build-arg "VERSION=$version" --build-arg "REVISION=$revision" -f "$dockerfile" -t "$tag" "$context"
fi
if [ ! -x "${BUILD_IMAGE:-}" ]; then
  echo "no Docker engine: start one, or set BUILD_IMAGE (see docs/deployment.md)" >&2
  exit 1
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
sed -e 's/@sha256:[0-9a-f]*//' -e "s/^ARG VERSION=.*/ARG VERSION=$version/" -e "s/^ARG REVISION=.*/ARG REVISION=$revision/" \
  "$dockerfile" > "$copy/$name.Dockerfile"
# Docker's image format keeps the health check; the OCI format has no place for it.
BUILDAH_FORMAT=docker "$BUILD_IMAGE" "$copy/$name.Dockerfile" "$tag" "$context"

#!/usr/bin/env bash
# Binds the images of others, in docker-compose.yml and deploy/Dockerfile, to the
# digests that their tags have now: what is pulled later is what is pulled today.
# Needs `docker buildx` and the registries. Run it again after changing a tag.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# pin FILE IMAGE TEXT: writes the digest of the image behind the text that names it.
pin() {
    local digest
    digest=$(docker buildx imagetools inspect "$2" --format '{{.Manifest.Digest}}')
    [[ $digest == sha256:* ]] || { echo "pin-images: no digest of $2" >&2; exit 1; }
    sed -i -E "s#$3(@sha256:[0-9a-f]+)?\$#$3@$digest#" "$1"
    echo "$2@$digest"
}

grep -oE '^ +image: [^@]+' docker-compose.yml | sed 's/ *image: //' | sort -u |
    grep -v '^ribolex-' | while read -r image; do
    pin docker-compose.yml "$image" "image: $image"
done
python=$(sed -n 's/^ARG PYTHON=\([^@]*\).*/\1/p' deploy/Dockerfile)
pin deploy/Dockerfile "python:$python" "ARG PYTHON=$python"

#!/bin/sh
# Has uv make the environments of the scripts below a directory, in UV_CACHE_DIR: later they start without a network.
# Usage: sh warm.sh DIRECTORY
set -eu
cd "$1"
while IFS= read -r script; do
  echo "making the environment of $script"
  uv sync --quiet --script "$script" < /dev/null
done << '--end--'
@@{scripts}
--end--

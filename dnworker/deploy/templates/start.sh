#!/bin/sh
# Starts the runtime in a container. uv writes to its cache, and an image is read-only: the warmed one is copied
# to the directory that can be written, once a container.
set -eu
if [ -n "$(ls -A /opt/dnworker/uv)" ] && [ ! -e "$UV_CACHE_DIR/.@@{release}" ]; then
  (umask 077 && mkdir -p "$UV_CACHE_DIR")
  cp -R -P /opt/dnworker/uv/. "$UV_CACHE_DIR"
  touch "$UV_CACHE_DIR/.@@{release}"
fi
exec dnworker serve --config /etc/dnworker/serve.toml "$@"

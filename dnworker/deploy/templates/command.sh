#!/bin/sh
# The command dnworker for this service, with its address and its token: sudo /opt/@@{name}/dnworker ps
set -eu
if [ ! -r /etc/@@{name}/token ]; then
  echo "the token of @@{name} is root's; run: sudo $0 $*" >&2
  exit 1
fi
DREADNODE_RUNTIME_URL=http://@@{address}
DREADNODE_RUNTIME_TOKEN=$(cat /etc/@@{name}/token)
export DREADNODE_RUNTIME_URL DREADNODE_RUNTIME_TOKEN
exec /opt/@@{name}/venv/bin/dnworker "$@"

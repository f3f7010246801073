#!/bin/sh
# Publishes `demo.beat` every BEAT_SECONDS, and says how many workers the runtime has. Needs curl and nothing else.
set -eu

api() { # METHOD PATH [JSON]
    # The token goes in by a file descriptor: on the command line everybody on this machine could read it.
    curl --silent --show-error --fail-with-body --max-time 10 --request "$1" \
        --header @- --header 'Content-Type: application/json' ${3:+--data "$3"} \
        "$DREADNODE_RUNTIME_URL$2" <<HEADER
Authorization: Bearer $DREADNODE_RUNTIME_TOKEN
HEADER
}

# A trap runs when the command in front ends; waiting for a sleep in the background ends at once.
trap 'echo stopping; exit 0' TERM INT

count=0
while :; do
    count=$((count + 1))
    workers=$(api GET /api/runtime | tr ',' '\n' | grep -c '"kind":"worker"' || true)
    # The answer is kept and then printed, a line in one piece: told to stop in between, it says that on its own line.
    answer=$(api POST /api/events "{\"kind\":\"demo.beat\",\"payload\":{\"n\":$count,\"workers\":$workers}}" || true)
    echo "$answer"
    sleep "$BEAT_SECONDS" &
    wait $!
done

#!/bin/sh
# Make the secrets that docker-compose.yml mounts; run it once: docker/secrets.sh COMMAND…, where COMMAND runs `liveness`,
# e.g. docker run --rm face-liveness:cpu
set -eu
folder=$(dirname "$0")/secrets
if [ -e "$folder/api_keys" ]; then
  echo "$folder/api_keys is there already: nothing changed. Remove the files of that folder to make new ones." >&2
  exit 1
fi
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# Entries go to standard output; each key goes to standard error, on a line of its own.
"$@" keys new client --permissions score > "$made/api_keys" 2> "$made/client"
"$@" keys new prometheus --permissions operations >> "$made/api_keys" 2> "$made/prometheus"
grep '^lv_' "$made/client" > "$made/client_key"
grep '^lv_' "$made/prometheus" | tr -d '\n' > "$made/metrics_key"
head -c 18 /dev/urandom | base64 | tr -d '\n' > "$made/grafana_password"
head -c 36 /dev/urandom | base64 | tr -d '\n' > "$made/session_key"

# The users inside the containers must be able to read the files; the folder keeps out other users of this machine.
chmod 700 "$folder"
for name in metrics_key grafana_password session_key client_key api_keys; do
  install -m 644 "$made/$name" "$folder/$name"
done
echo "made in $folder: api_keys, session_key, metrics_key, grafana_password, and client_key, the key of whoever calls"

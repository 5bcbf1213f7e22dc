#!/usr/bin/env bash
# PostgreSQL and MLflow on the head of a cluster that `ray up` makes, both on loopback only: the driver runs there too.
#   sudo head-services.sh install    PostgreSQL, with one database for the ledger and one for MLflow
#   head-services.sh start           MLflow at http://127.0.0.1:5000, and ~/sweeper.env for the shell that runs sweeper
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

install() {
    apt-get install -y -qq postgresql
    # No password: PostgreSQL lets in, through its local socket, whoever has this name on this machine.
    run=(runuser -u postgres --)
    owner=$(stat -c %U "$here")
    "${run[@]}" psql -tAc "select 1 from pg_roles where rolname = '$owner'" | grep -q 1 || "${run[@]}" createuser "$owner"
    for database in sweeper mlflow; do
        "${run[@]}" psql -lqtA | grep -q "^$database|" || "${run[@]}" createdb --owner "$owner" "$database"
    done
}

start() {
    cat >~/sweeper.env <<SETTINGS
export PATH="$here/.venv/bin:\$PATH" SWEEPER_ROOT=/sweeps RAY_AUTH_MODE=token RAY_ADDRESS=auto
export MLFLOW_TRACKING_URI=http://127.0.0.1:5000 SWEEPER_STORAGE=postgresql+psycopg2:///sweeper
SETTINGS
    curl -fs http://127.0.0.1:5000/health >/dev/null && return
    export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
    # In a session of its own, so that it stays when ray up's connection ends.
    setsid nohup "$here/.venv/bin/mlflow" server --workers 1 --backend-store-uri postgresql+psycopg2:///mlflow \
        --artifacts-destination /sweeps/mlartifacts >~/mlflow.log 2>&1 </dev/null &
}

case "${1:-}" in
install | start) "$1" ;;
*) sed -n '2,4s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac

#!/usr/bin/env bash
# PostgreSQL and MLflow on the head of a cluster that `ray up` makes, both on loopback only: the driver runs there too.
#   sudo head-services.sh install    PostgreSQL, with databases for the ledger, for MLflow and for who may log in to it
#   head-services.sh start           MLflow at http://127.0.0.1:5000, and ~/sweeper.env for the shell that runs sweeper
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

install() {
    apt-get install -y -qq postgresql
    # No password: PostgreSQL lets in, through its local socket, whoever has this name on this machine.
    run=(runuser -u postgres --)
    owner=$(stat -c %U "$here")
    "${run[@]}" psql -tAc "select 1 from pg_roles where rolname = '$owner'" | grep -q 1 || "${run[@]}" createuser "$owner"
    for database in sweeper mlflow mlflow_users; do
        "${run[@]}" psql -lqtA | grep -q "^$database|" || "${run[@]}" createdb --owner "$owner" "$database"
    done
}

start() {
    umask 077
    for secret in mlflow.password mlflow.session; do
        [ -s ~/"$secret" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >~/"$secret"
    done
    cat >~/sweeper.env <<SETTINGS
export PATH="$here/.venv/bin:\$PATH" SWEEPER_ROOT=/sweeps RAY_AUTH_MODE=token RAY_ADDRESS=auto
export MLFLOW_TRACKING_URI=http://127.0.0.1:5000 SWEEPER_STORAGE=postgresql+psycopg2:///sweeper
export MLFLOW_TRACKING_USERNAME=sweeper MLFLOW_TRACKING_PASSWORD=$(cat ~/mlflow.password)
SETTINGS
    curl -fs http://127.0.0.1:5000/health >/dev/null && return
    export PATH="$here/.venv/bin:$PATH" TMPDIR=~ MLFLOW_HOST=127.0.0.1 MLFLOW_ARTIFACTS_DESTINATION=/sweeps/mlartifacts
    export MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2:///mlflow
    export MLFLOW_AUTH_DATABASE_URI=postgresql+psycopg2:///mlflow_users
    export MLFLOW_AUTH_ADMIN_PASSWORD_FILE=~/mlflow.password MLFLOW_FLASK_SERVER_SECRET_KEY_FILE=~/mlflow.session
    export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
    # In a session of its own, so that it stays when ray up's connection ends.
    setsid nohup "$here/docker/bin/with-secrets" "$here/docker/bin/mlflow-in-cluster" >~/mlflow.log 2>&1 </dev/null &
}

case "${1:-}" in
install | start) "$1" ;;
*) sed -n '2,4s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac

#!/usr/bin/env bash
# Builds the image and runs the services of compose.yaml where no Docker engine runs and no image can be pulled, sweeps on
# them, kills one worker and freezes another in the middle, and looks at what came out.
#
#   docker/rehearse.sh base     a Debian base from Debian's own packages, which the Dockerfiles get as BASE
#   docker/rehearse.sh images   the image of compose.yaml, and stand-ins for PostgreSQL's and SeaweedFS's
#   docker/rehearse.sh sweep    the cluster, in namespaces of its own, and the sweep
#   docker/rehearse.sh clean    everything away
#
# Wants root, Debian's debootstrap, buildah, podman, crun, netavark, aardvark-dns and catatonit, and podman-compose >= 1.5.
set -euo pipefail
cd "$(dirname "$0")/.."
WORK=${REHEARSAL_FOLDER:-/var/tmp/sweeper-rehearsal}
BASE=localhost/debian-base:1
COMPOSE=${COMPOSE:-podman-compose}
export CONTAINERS_STORAGE_CONF=$WORK/storage.conf CONTAINERS_CONF=$WORK/containers.conf
export POSTGRES_IMAGE=localhost/postgres-stand-in:1 S3_IMAGE=localhost/s3-stand-in:1 SWEEPER_IMAGE=localhost/sweeper:cpu
export WORKER_CPUS=1 WORKER_MEMORY=3g DASHBOARD=false

configure() {
    mkdir -p "$WORK"
    printf '[storage]\ndriver="overlay"\ngraphroot="%s/storage"\nrunroot="/run/sweeper-rehearsal"\n' "$WORK" >"$CONTAINERS_STORAGE_CONF"
    # Where the limits of open files may not be raised, podman's own default cannot be set.
    printf '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=8192:8192"]\n[engine]\ncgroup_manager="cgroupfs"\n' \
        >"$CONTAINERS_CONF"
}

base() {
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$WORK/rootfs"
    # The certificates that this machine trusts, for package registries behind a proxy of its own.
    cp -L /etc/ssl/certs/ca-certificates.crt "$WORK/rootfs/etc/ssl/certs/ca-certificates.crt"
    tar -C "$WORK/rootfs" -c . | podman import --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
        --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' - "$BASE"
    rm -rf "$WORK/rootfs"
}

build() {
    buildah bud --isolation chroot --format docker --build-arg "BASE=$BASE" --file "$1" --tag "$2" .
}

images() {
    build docker/Dockerfile "$SWEEPER_IMAGE" # TORCH_BACKEND is left out: PyTorch's own index may be out of reach
    build docker/rehearsal/Dockerfile.postgres "$POSTGRES_IMAGE"
    build docker/rehearsal/Dockerfile.s3 "$S3_IMAGE"
}

compose() { $COMPOSE --file docker/compose.yaml "$@"; }

said() { printf '\n== %s  %s\n' "$(date +%H:%M:%S)" "$*"; }

until_printed() { # TEXT TIMES SECONDS: waits until the sweep has printed a text so often
    local end=$((SECONDS + $3))
    until [ "$(grep -c -- "$1" "$WORK/sweep.log")" -ge "$2" ]; do
        [ "$SECONDS" -lt "$end" ] || { cat "$WORK/sweep.log"; exit 1; }
        sleep 1
    done
}

until_true() { # COMMAND: waits until a command in the head's container succeeds
    local end=$((SECONDS + 300))
    until podman exec sweeper_head_1 sh -c "$1"; do
        [ "$SECONDS" -lt "$end" ] || { cat "$WORK/engine.log"; podman logs sweeper_head_1; exit 1; }
        sleep 2
    done
}

inside() {
    mount -t tmpfs none /dev/shm && mount -t tmpfs none /run # what podman notes of running containers and networks ends with this shell
    ip link set lo up
    # podman takes version 1 of control groups here, and refuses the mixture of both.
    umount /sys/fs/cgroup/unified 2>/dev/null || true
    # All containers together would weigh as much as one other process of this machine.
    mkdir -p /sys/fs/cgroup/cpu/libpod_parent && echo 8192 >/sys/fs/cgroup/cpu/libpod_parent/cpu.shares || true
    # Of an earlier rehearsal that was broken off; those that others depend on go in a later round.
    while [ -n "$(podman ps --all --quiet)" ]; do podman rm --all --force >/dev/null 2>&1 || true; done
    podman volume prune --force >/dev/null
    said "start"
    # podman tells here that systemd is away, which would run the health checks; they are run below.
    compose up --detach --no-build head mlflow >"$WORK/engine.log" 2>&1
    until_true "ray status >/dev/null 2>&1"
    compose up --detach --no-build --scale worker=3 >>"$WORK/engine.log" 2>&1
    until_true 'ray status 2>/dev/null | grep "/3.0 CPU"'
    for service in head mlflow postgres; do
        printf '%s is %s\n' "$service" "$(podman healthcheck run "sweeper_${service}_1" >/dev/null && echo healthy || echo ill)"
    done
    said "the sweep"
    compose --profile tools run --rm -T -v "$PWD/docker/rehearsal:/rehearsal:ro" sweeper run /rehearsal/sweep.yaml 2>&1 | grep --line-buffered -v systemd >"$WORK/sweep.log" &
    until_printed "epoch 2 " 3 300
    said "worker 1 is killed, worker 2 is frozen"
    podman kill sweeper_worker_1 >/dev/null
    podman pause sweeper_worker_2 >/dev/null
    until_printed "lost" 2 240
    said "both were noticed; worker 1 is started again, worker 2 goes on"
    podman start sweeper_worker_1 >/dev/null
    podman unpause sweeper_worker_2 >/dev/null
    wait
    cat "$WORK/sweep.log"
    said "nodes at the end"
    podman ps --all --format '{{.Names}}  {{.Status}}'
    said "the ledger, in PostgreSQL"
    podman exec sweeper_postgres_1 psql -U sweeper -d sweeper -c "
        select t.number, t.state, count(v.trial_id) as epochs, max(a.value_json) as attempts from trials t
        left join trial_intermediate_values v using (trial_id)
        left join trial_user_attributes a on a.trial_id = t.trial_id and a.key = 'attempts' group by 1, 2 order by 1"
    said "MLflow, asked as a client"
    compose --profile tools run --rm -T --entrypoint "with-secrets python /rehearsal/runs.py" -v "$PWD/docker/rehearsal:/rehearsal:ro" sweeper
}

configure
case "${1:-}" in
base | images) "$1" ;;
sweep)
    docker/make-secrets.sh
    # Whatever runs in them ends with them.
    exec unshare --mount --net --pid --fork --kill-child --mount-proc "$0" inside
    ;;
inside) inside ;;
clean) rm -rf "$WORK" ;;
*) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac

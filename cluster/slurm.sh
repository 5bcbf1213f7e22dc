#!/bin/bash
# A sweep as one Slurm job: `sbatch cluster/slurm.sh search_spaces/davit.yaml`; submitted again, it goes on.
# Each node runs one Ray node; the first one runs the head and the driver as well. More: docs/cluster/slurm.md
#SBATCH --job-name=sweeper
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --output=sweeper-%j.log
set -euo pipefail
SPACE=${1:?Usage: sbatch cluster/slurm.sh SEARCH_SPACE.yaml}
BIN=${SWEEPER_BIN:-$PWD/.venv/bin}
export SWEEPER_ROOT=${SWEEPER_ROOT:-$PWD/sweeps}             # on the file system that all nodes share
export SWEEPER_CACHE=${SWEEPER_CACHE:-${TMPDIR:-/tmp}/sweeper-cache-$USER} # on each node's own disk
name=$("$BIN/python" -c 'import sys; from sweeper.spec import load_spec; from pathlib import Path; print(load_spec(Path(sys.argv[1])).name)' "$SPACE")

# Other people share these machines: without a token whoever reaches the port could run programs as you.
RAY_AUTH_TOKEN=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
head=$(hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_ADDRESS=$head:$port
folder=/tmp/ray-$SLURM_JOB_ID # the paths of Ray's sockets must be short

# The one node that is the batch script's own runs the head; every node, this one too, a worker with what Slurm gave it.
"$BIN/ray" start --head --block --node-ip-address="$head" --port="$port" --num-cpus=0 --num-gpus=0 --temp-dir="$folder" \
    --include-dashboard=false --object-store-memory=200000000 &
until "$BIN/ray" health-check --address "$RAY_ADDRESS" 2>/dev/null; do sleep 1; done
srun --ntasks-per-node=1 "$BIN/ray" start --address="$RAY_ADDRESS" --block --num-cpus="$SLURM_CPUS_PER_TASK" \
    --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --object-store-memory=200000000 &
until "$BIN/ray" status 2>/dev/null | grep -q "/$((SLURM_CPUS_PER_TASK * SLURM_JOB_NUM_NODES)).0 CPU"; do sleep 1; done

# Slurm sends TERM three minutes before the time is up: the sweep stops cleanly, and the job is put into the queue again.
if [ -e "$SWEEPER_ROOT/$name/resolved.yaml" ]; then todo=(resume "$name"); else todo=(run "$SPACE"); fi
"$BIN/sweeper" "${todo[@]}" &
sweep=$!
trap 'kill -TERM $sweep; wait $sweep || true; scontrol requeue "$SLURM_JOB_ID"' TERM
wait $sweep

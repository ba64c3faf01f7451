#!/bin/bash
# 2 nodes x 4 ranks, dp_shard 2 x tp 4; made by `meshplan submit --to ssh`.
# Starts torchrun on every host and waits; Ctrl-C stops all of them. Each host is reached by ssh without a password,
# and finds the plan, the data and the storage path under the same names.

hosts=(node-a node-b)
node_script=$(
  cat <<'NODE'
node=$1 host=$2
export NCCL_IB_HCA==mlx5_0:1,mlx5_1:1
export NCCL_DEBUG=WARN
export NCCL_SOCKET_IFNAME=ib0
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
exec 3<&0
timeout --signal=USR1 --kill-after=180 129420 torchrun --nnodes=2 --nproc-per-node=4 --max-restarts=3 \
  --rdzv-backend=c10d --rdzv-id=first-run --rdzv-endpoint=node-a:29500 --rdzv-conf=is_host=$((node == 0)) \
  --local-addr="$host" --no-python \
  /opt/meshplan/bin/meshplan train /shared/plan.json \
  --data '/shared/a text' \
  --steps 100 \
  --storage-path /shared/runs \
  --experiment-name 'first run' </dev/null 3<&- &
ranks=$!
# ssh's input ends when the job is stopped, and where the connection is lost.
{ cat <&3 >/dev/null; kill "$ranks"; } 2>/dev/null &
watch=$!
wait "$ranks"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
NODE
)

quoted_script="'$(sed "s/'/'\\\\''/g" <<<"$node_script")'"
work=$(mktemp -d) || exit 5
mkfifo "$work/input" || exit 5
exec 9<>"$work/input" 8<"$work/input"
rm -r "$work"
stop() { exec 9>&-; }
trap stop INT TERM HUP

start() { # NODE HOST
  set -o pipefail
  ssh -o BatchMode=yes -o ServerAliveInterval=15 "$2" "bash -c $quoted_script meshplan $1 $2" <&8 2>&1 |
    sed -u "s/^/[$2] /" 8<&-
}

started=()
for node in "${!hosts[@]}"; do
  start "$node" "${hosts[node]}" 9>&- &
  started+=($!)
done
code=0
while ((${#started[@]})); do
  for i in "${!started[@]}"; do
    kill -0 "${started[i]}" 2>/dev/null && continue
    wait "${started[i]}"
    ended=$?
    unset "started[i]"
    if ((ended != 0 && code == 0)); then
      code=$ended
      echo "${hosts[i]} ended with exit code $ended; all are stopped" >&2
      stop
    fi
  done
  sleep 0.5
done
exit "$code"

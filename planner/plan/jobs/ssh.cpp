#include <fmt/format.h>
#include <fmt/ranges.h>

#include "planner/plan/jobs/quoting.h"
#include "planner/plan/jobs/targets.h"

namespace meshplan::planner {
namespace {

constexpr std::int64_t kPort = 29500;

/// Behind the line that starts torchrun, in the script of a node.
constexpr const char* kNodeEnd = R"bash(ranks=$!
# ssh's input ends when the job is stopped, and where the connection is lost.
{ cat <&3 >/dev/null; kill "$ranks"; } 2>/dev/null &
watch=$!
wait "$ranks"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
NODE
)
)bash";

/// Starts the nodes and waits for them; the first that fails stops the others.
constexpr const char* kRun = R"bash(
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
)bash";

std::string limit(const JobRequest& request) {
  if (!request.time_limit_s) return "";
  return fmt::format("timeout --signal=USR1 --kill-after={} {} ", request.signal_ahead_s,
                     *request.time_limit_s - request.signal_ahead_s);
}

std::string node_script(const Plan& plan, const JobRequest& request) {
  const std::int64_t port = request.port.value_or(kPort);
  return fmt::format(
      "node_script=$(\n"
      "  cat <<'NODE'\n"
      "node=$1 host=$2\n"
      "{}"
      "export PET_SIGNALS_TO_HANDLE={}\n"
      "exec 3<&0\n"
      "{}{} --nnodes={} --nproc-per-node={} --max-restarts={} \\\n"
      "  --rdzv-backend=c10d --rdzv-id={} --rdzv-endpoint={}:{} --rdzv-conf=is_host=$((node == 0)) "
      "\\\n"
      "  --local-addr=\"$host\" --no-python \\\n"
      "{} </dev/null 3<&- &\n",
      export_lines(plan, request), kTorchrunSignals, limit(request), shell_word(request.torchrun),
      plan.cluster.nodes, plan.layout.mesh.ranks_per_node, request.max_restarts,
      safe_name(request.name), shell_word(request.hosts.front()), port,
      shell_lines(train_words(request, request.plan_path), 2));
}

}  // namespace

JobFiles ssh_job(const Plan& plan, const JobRequest& request) {
  std::string script = fmt::format(
      "#!/bin/bash\n"
      "# {}; made by `meshplan submit --to ssh`.\n"
      "# Starts torchrun on every host and waits; Ctrl-C stops all of them. Each host is reached "
      "by "
      "ssh without a password,\n"
      "# and finds the plan, the data and the storage path under the same names.\n\n",
      mesh_text(plan));
  std::vector<std::string> hosts;
  for (const std::string& host : request.hosts) hosts.push_back(shell_word(host));
  script += fmt::format("hosts=({})\n", fmt::join(hosts, " "));
  script += node_script(plan, request) + kNodeEnd + kRun;
  return {{safe_name(request.name) + ".sh", script, true}};
}

}  // namespace meshplan::planner

#!/usr/bin/env bash
# Ray node | the head or a worker of a training cluster, in the foreground, and the wait for all of them | every node
#
#   bash scripts/ray_cluster/node.sh head                                 on the first node
#   HEAD_ADDRESS=10.0.0.1 bash scripts/ray_cluster/node.sh worker         on every other node
#   HEAD_ADDRESS=10.0.0.1 bash scripts/ray_cluster/node.sh wait 4         on a node of the cluster: until 4 are there
#
# A node runs until it gets SIGTERM or Ctrl-C and then takes down what it started, and nothing else (`ray stop` would
# end every Ray on the machine). Training processes inherit the environment of their node: NCCL_* go here.
#
# Knobs:
#   HEAD_ADDRESS       host name or address of the head node (worker, wait)
#   RAY_PORT           port of the head node                               (default: 6379)
#   DASHBOARD_PORT     port of the dashboard and of `ray job submit`       (default: 8265)
#   DASHBOARD_HOST     where the dashboard listens; 0.0.0.0 for other machines too  (default: 127.0.0.1)
#   NETWORK_INTERFACE  interface between the nodes, such as eth0 or bond0: Ray takes its address, and it is the default
#                      of NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME        (default: their own choice)
#   GPUS               GPUs that this node offers                          (default: all that Ray finds)
#   RAY_TEMP_DIR       Ray's directory on this node's own disk             (default: Ray's, /tmp/ray)
#   RAY_START_ARGS     more arguments of `ray start`, separated by blanks
#   RAY_AUTH_MODE      token: every process needs the token in the file RAY_AUTH_TOKEN_PATH; disabled: whoever reaches
#                      the ports can run code. The same on all nodes and for the training command (default: disabled)
#   WAIT_TIMEOUT_S     seconds that `wait` waits                           (default: 600)
#   PYTHON             Python with verl-htpo installed                     (default: the python3 of the environment)
set -euo pipefail

# user-adjustable
port="${RAY_PORT:-6379}"
dashboard_port="${DASHBOARD_PORT:-8265}"
dashboard_host="${DASHBOARD_HOST:-127.0.0.1}"
interface="${NETWORK_INTERFACE:-}"
gpus="${GPUS:-}"
temp_dir="${RAY_TEMP_DIR:-}"
read -r -a start_args <<<"${RAY_START_ARGS:-}"
wait_timeout_s="${WAIT_TIMEOUT_S:-600}"
python="${PYTHON:-python3}"
# Ray's own default depends on whether a token lies on the machine, so nodes could disagree.
export RAY_AUTH_MODE="${RAY_AUTH_MODE:-disabled}"

# derived defaults
refuse() {
  printf '%s\n' "$*" >&2
  exit 2
}
role="${1:-}"
case "$role" in
  head) ;;
  worker | wait) [[ -n "${HEAD_ADDRESS:-}" ]] || refuse "set HEAD_ADDRESS to the host name or address of the head node" ;;
  *) refuse "usage: node.sh head | worker | wait NODES" ;;
esac

if [[ "$role" == wait ]]; then
  [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || refuse "usage: node.sh wait NODES"
  exec "$python" - "$HEAD_ADDRESS" "$port" "$2" "$wait_timeout_s" <<'PY'
import os
import socket
import sys
import threading
import time

import ray

host, port, wanted, timeout_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
shown = 0


# In a thread of its own: Ray's connection to a head node that does not answer waits for minutes.
def give_up() -> None:
    print(
        f"only {shown} of {wanted} nodes joined {host}:{port} in {timeout_s:g} s. Start the missing ones, look at their "
        "output, or raise WAIT_TIMEOUT_S",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


timer = threading.Timer(timeout_s, give_up)
timer.daemon = True
timer.start()
while True:
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        break
    except OSError:
        time.sleep(1)
ray.init(address=f"{host}:{port}", log_to_driver=False, logging_level="ERROR")
while True:
    joined = [node for node in ray.nodes() if node["Alive"]]
    if len(joined) != shown:
        shown = len(joined)
        print(f"{shown} of {wanted} nodes joined {host}:{port}", flush=True)
    if shown >= wanted:
        break
    time.sleep(1)
timer.cancel()
for node in joined:
    print(f"  {node['NodeManagerHostname']} {node['NodeManagerAddress']}: {node['Resources'].get('GPU', 0):g} GPUs")
PY
fi

if [[ -n "$interface" ]]; then
  node_ip="$("$python" -c 'import socket, sys, psutil
for address in psutil.net_if_addrs().get(sys.argv[1], []):
    if address.family == socket.AF_INET:
        print(address.address)
        break' "$interface")"
  [[ -n "$node_ip" ]] || refuse "NETWORK_INTERFACE=$interface: no interface of that name has an IPv4 address on $(hostname)"
  start_args+=("--node-ip-address=$node_ip")
  export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-$interface}" GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$interface}"
fi
if [[ -n "$gpus" ]]; then start_args+=("--num-gpus=$gpus"); fi
if [[ -n "$temp_dir" ]]; then start_args+=("--temp-dir=$temp_dir"); fi
if [[ "$role" == head ]]; then
  start_args+=(--head "--port=$port" "--dashboard-host=$dashboard_host" "--dashboard-port=$dashboard_port")
else
  start_args+=("--address=$HEAD_ADDRESS:$port")
fi
command=("$python" -m ray.scripts.scripts start --block --disable-usage-stats "${start_args[@]}")
printf '+'
printf ' %q' "${command[@]}"
printf '\n'
exec "${command[@]}"

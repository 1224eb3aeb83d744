# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Ray clusters of several nodes on one machine."""

from typing import Any

from ray.cluster_utils import Cluster


def start_cluster(**head: Any) -> Cluster:
    """A cluster with its first node. Ray gives that 30 s to start (ray/_private/node.py), which a busy machine may
    take: it is tried twice."""
    node = {**head, "include_dashboard": False}
    try:
        return Cluster(initialize_head=True, head_node_args=node)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        return Cluster(initialize_head=True, head_node_args=node)

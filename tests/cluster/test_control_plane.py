"""The tests' own Kubernetes: that it is one, that it counts writes, goes away, comes back, and leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from tests.cluster import binaries
from tests.cluster.control_plane import ControlPlane, Write

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "1"}}
MAY_WRITE = [
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "writer"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "writer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writer"},
        "subjects": [{"kind": "ServiceAccount", "name": "writer"}],
    },
]


def test_it_is_the_version_of_go_mod(admin: kubernetes.client.ApiClient) -> None:
    if not os.environ.get("KUBEBUILDER_ASSETS"):
        assert kubernetes.client.VersionApi(admin).get_code().git_version == f"v{binaries.version()}"


def test_a_service_account_may_do_what_its_role_says_and_its_writes_are_counted(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.apply(*MAY_WRITE, namespace=namespace)
    config = control_plane.service_account(namespace, "writer")
    control_plane.writes()
    with control_plane.client(config) as client:
        core: Any = kubernetes.client.CoreV1Api(client)
        core.create_namespaced_config_map(namespace, CONFIG_MAP)
        core.patch_namespaced_config_map("kept", namespace, {"data": {"a": "2"}})
        with pytest.raises(kubernetes.client.ApiException, match="Forbidden"):
            core.create_namespaced_secret(namespace, {"metadata": {"name": "not-allowed"}})
    user = f"system:serviceaccount:{namespace}:writer"
    assert control_plane.writes() == {
        Write(user, "create", "configmaps", namespace): 1,
        Write(user, "patch", "configmaps", namespace): 1,
    }
    assert control_plane.writes() == {}


def test_the_api_server_comes_back_with_what_it_held(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(CONFIG_MAP, namespace=namespace)
    with control_plane.api_server_away():
        refused = control_plane.kubectl("get", "namespaces", check=False)
        assert "refused" in refused.stderr
    assert control_plane.get("configmap", "kept", "-n", namespace)["data"] == {"a": "1"}


def test_a_frozen_api_server_keeps_its_clients_waiting(control_plane: ControlPlane) -> None:
    with control_plane.api_server_frozen():
        silent = control_plane.kubectl("get", "namespaces", "--request-timeout=500ms", check=False)
        assert silent.returncode != 0
    control_plane.get("namespaces")


def test_what_is_owned_is_collected(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(CONFIG_MAP, namespace=namespace)
    owner = control_plane.get("configmap", "kept", "-n", namespace)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "kept", "uid": owner["metadata"]["uid"]}
    owned = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "owned", "ownerReferences": [reference]},
    }
    control_plane.apply(owned, namespace=namespace)
    control_plane.kubectl("delete", "configmap", "kept", "-n", namespace)
    control_plane.kubectl("wait", "--for=delete", "secret/owned", "-n", namespace, "--timeout=30s")


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from tests.cluster.control_plane import ControlPlane\n"
        "with ControlPlane.running(audit=False) as plane:\n"
        "    print(plane.directory, *(each.pid for each in plane._processes.values()), flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout
        directory, *pids = child.stdout.readline().split()
        assert Path(directory).is_relative_to(tmp_path)
        child.kill()
    assert len(pids) == 3
    deadline = time.monotonic() + 10
    while alive := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)

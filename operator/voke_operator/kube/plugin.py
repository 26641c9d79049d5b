"""Log-in plug-ins of a kubeconfig (``exec``), as client-go runs them: a program that prints a token or a certificate.

The library's own support leaves out what the plug-in says when it fails, the cluster that some ask to be told
(``provideClusterInfo``), and programs given relative to their kubeconfig.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

_API: Final = "client.authentication.k8s.io"
VERSIONS: Final = (f"{_API}/v1", f"{_API}/v1beta1")
"""What plug-ins and client-go have agreed on."""
_ENDS_WITHIN: Final = 60.0
"""Seconds for a plug-in that cannot ask a person anything."""


class PluginError(Exception):
    """A plug-in gives no credential; the message says why and what to do, and nothing of what it printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What somebody is known by. One of both is there."""

    token: str | None = field(default=None, repr=False)
    certificate: tuple[str, str] | None = field(default=None, repr=False)
    """Certificate and key, PEM."""
    ends: float | None = None
    """Epoch seconds; None: it is not said."""


def ask(exec_: Mapping[str, Any], cluster: Mapping[str, Any], *, directory: Path) -> Credential:
    """Run a plug-in and wait for its end; what it says to people goes to the standard error output, as with kubectl.

    Args:
        exec_: As in the kubeconfig.
        cluster: What a plug-in that asks for it is told of the cluster.
        directory: Of the kubeconfig.

    Raises:
        PluginError: there is no such program, it fails, or what it prints is no credential.
    """
    command, version = str(exec_.get("command") or ""), exec_.get("apiVersion")
    if not command or version not in VERSIONS:
        raise PluginError(
            f"its exec section needs a command and an apiVersion of {' or '.join(VERSIONS)}: update what wrote it"
        )
    person = sys.stdin is not None and sys.stdin.isatty() and exec_.get("interactiveMode") != "Never"
    told = {"interactive": person} | ({"cluster": cluster} if exec_.get("provideClusterInfo") else {})
    given = {each["name"]: each["value"] for each in exec_.get("env") or ()}
    about = json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": told})
    try:
        done = subprocess.run(  # noqa: S603 - the person's own kubeconfig names it
            [str(directory / command) if os.sep in command else command, *map(str, exec_.get("args") or ())],
            env=os.environ | given | {"KUBERNETES_EXEC_INFO": about},
            stdin=None if person else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
            timeout=None if person else _ENDS_WITHIN,
        )
    except OSError as error:
        hint = f". {str(exec_['installHint']).strip()}" if exec_.get("installHint") else ""
        raise PluginError(f"its log-in plug-in {command} cannot be run ({error.strerror}){hint}") from None
    except subprocess.TimeoutExpired:
        raise PluginError(
            f"its log-in plug-in {command} did not end within {_ENDS_WITHIN:.0f} s: does it wait for a person?"
        ) from None
    if done.returncode:
        raise PluginError(
            f"its log-in plug-in {command} ended with status {done.returncode}; what it said is in the standard error "
            "output, and kubectl would have failed as well"
        )
    return _credential(done.stdout, command, version)


def _credential(printed: bytes, command: str, version: str) -> Credential:
    try:
        answer = json.loads(printed)
        if (answer["kind"], answer["apiVersion"]) != ("ExecCredential", version):
            raise PluginError(
                f"its log-in plug-in {command} does not answer in {version}: let the kubeconfig name its version"
            )
        status = answer["status"]
        ends = status.get("expirationTimestamp")
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        found = Credential(
            token=status.get("token") or None,
            certificate=(certificate, key) if certificate and key else None,
            ends=None if ends is None else datetime.fromisoformat(ends).timestamp(),
        )
    except (ValueError, KeyError, TypeError, AttributeError):  # their texts may quote what was printed
        raise PluginError(f"its log-in plug-in {command} prints no ExecCredential") from None
    if found.token is None and found.certificate is None:
        raise PluginError(
            f"its log-in plug-in {command} gives neither a token nor a certificate with its key: log in anew"
        )
    return found

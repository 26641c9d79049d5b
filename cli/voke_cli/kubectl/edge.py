"""kubectl as a program: the one way to the API, under the caller's own log-in, context and rights.

Nothing secret is ever among its arguments; what is written goes through its standard input.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, Final

from voke_api.resources.common import GROUP, SUBDOMAIN
from voke_cli.kubectl.rights import (
    GET_PLANT,
    GET_POD,
    GET_SECRET,
    LIST_PLANTS,
    PATCH_PLANT,
    Right,
)

Json = dict[str, Any]
PLANTS: Final = f"plants.{GROUP}"
PROFILES: Final = f"deviceprofiles.{GROUP}"
ANSWER_WITHIN: Final = 15
"""Seconds that the API server is given for an answer."""
_END_WITHIN: Final = 60.0
"""Seconds after which kubectl itself is given up: a log-in plugin may wait for a person."""
_SERVES_WITHIN: Final = 20.0
_LINE: Final = 4096


class KubectlError(Exception):
    """Something cannot be had from the cluster; the message says why and what to do."""


class NotThereError(KubectlError):
    """There is no such object."""


class NotAllowedError(KubectlError):
    """A right is missing; the message names it."""


class Kubectl:
    """kubectl with the caller's flags.

    Args:
        context: Of the kubeconfig; None: the current one.
        kubeconfig: Path; None: the usual places.
        namespace: None: the context's.

    Raises:
        KubectlError: there is no kubectl.
    """

    def __init__(
        self, *, context: str | None = None, kubeconfig: str | None = None, namespace: str | None = None
    ) -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise KubectlError("there is no kubectl in $PATH: install it, or add its directory to $PATH")
        self._program = program
        self._flags = [
            *(() if kubeconfig is None else (f"--kubeconfig={kubeconfig}",)),
            *(() if context is None else (f"--context={context}",)),
        ]
        self.namespace = namespace

    def command(self, *arguments: str) -> Sequence[str]:
        """The arguments of a process."""
        return [self._program, *self._flags, *arguments]

    def see_that_it_is_safe(self) -> None:
        """Look at the kubeconfig: answers are believed and keys are shown only if the server's certificate is verified.

        Raises:
            KubectlError: it would not be; the message says what to do.
        """
        try:
            view = _parsed(self.run("config", "view", "--minify", "-o", "json", needs=LIST_PLANTS))
        except KubectlError:
            return  # in a pod there is none; whatever else is wrong, the first request says it
        for each in view.get("clusters") or ():
            server = str(each["cluster"].get("server"))
            if each["cluster"].get("insecure-skip-tls-verify") or not server.startswith("https://"):
                raise KubectlError(
                    f"the kubeconfig would have kubectl talk to {server} without verifying it. Give certificate-authority "
                    "instead of insecure-skip-tls-verify, tls-server-name if the certificate is for another name, and an "
                    "https:// server"
                )

    def plants(self, *, everywhere: bool) -> list[Json]:
        """All Plants of the namespace, or of all."""
        where = ("--all-namespaces",) if everywhere else self._where(None)
        found: list[Json] = self.get(PLANTS, *where, needs=LIST_PLANTS)["items"]
        return found

    def plant(self, name: str) -> Json:
        """One Plant.

        Raises:
            NotThereError: there is none of that name; the message says where it was looked for.
        """
        try:
            return self.get(PLANTS, named(name), *self._where(None), needs=GET_PLANT)
        except NotThereError:
            place = "this namespace" if self.namespace is None else f"namespace {self.namespace}"
            raise NotThereError(f"there is no Plant {name} in {place} (kubectl voke status -A)") from None

    def secret(self, namespace: str, name: str) -> Json:
        """A Secret. Holds what is secret."""
        return self.get("secrets", named(name), *self._where(namespace), needs=GET_SECRET)

    def pod(self, namespace: str, name: str) -> Json:
        """A pod."""
        return self.get("pods", named(name), *self._where(namespace), needs=GET_POD)

    def get(self, *arguments: str, needs: Right) -> Json:
        """What ``kubectl get … -o json`` prints."""
        said = self.run("get", *arguments, f"--request-timeout={ANSWER_WITHIN}s", "-o", "json", needs=needs)
        return _parsed(said)

    def annotate(self, namespace: str, plant: str, annotations: Mapping[str, str | None]) -> Json:
        """Set annotations of a Plant, or take them away (None); the Plant as it is then."""
        patch = {"metadata": {"annotations": dict(annotations)}}
        said = self.run(
            *("patch", PLANTS, named(plant), *self._where(namespace), "--type=merge"),
            *("--patch-file=/dev/stdin", f"--request-timeout={ANSWER_WITHIN}s", "-o", "json"),
            needs=PATCH_PLANT,
            given=json.dumps(patch),
        )
        return _parsed(said)

    def run(self, *arguments: str, needs: Right, given: str | None = None) -> str:
        """What it prints: objects of the API, whose size that bounds. What a pod says has no bound, and is not asked for here.

        Raises:
            NotThereError: there is no such object.
            NotAllowedError: the right ``needs`` is missing.
            KubectlError: anything else that it says.
        """
        try:
            done = subprocess.run(  # noqa: S603 - the person's own kubectl
                self.command(*arguments),
                input=given,  # none: a log-in plugin may ask the person
                capture_output=True,
                text=True,
                check=False,
                timeout=_END_WITHIN,
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(f"kubectl did not end within {_END_WITHIN:.0f} s") from None
        if done.returncode != 0:
            raise refusal(done.stderr, needs)
        return done.stdout

    @contextmanager
    def serving(self, *arguments: str, says: re.Pattern[str], needs: Right) -> Iterator[re.Match[str]]:
        """Kubectl as a server, as long as the block runs; what it says when it is one.

        Raises:
            NotAllowedError: the right ``needs`` is missing.
            KubectlError: it does not become one.
        """
        with (
            TemporaryFile("w+") as errors,
            subprocess.Popen(  # noqa: S603 - the person's own kubectl
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            late = threading.Timer(_SERVES_WITHIN, process.kill)
            late.start()
            try:
                assert process.stdout is not None
                found = says.search(process.stdout.readline(_LINE))
                late.cancel()
                if found is None:
                    process.kill()
                    process.wait()
                    errors.seek(0)
                    raise refusal(errors.read() or f"no answer within {_SERVES_WITHIN:.0f} s", needs)
                yield found
            finally:
                late.cancel()
                process.terminate()

    def _where(self, namespace: str | None) -> tuple[str, ...]:
        namespace = namespace or self.namespace
        return () if namespace is None else ("-n", namespace)


def named(name: str) -> str:
    """A name that may stand among arguments and in paths. Some are from a status, which others may have written.

    Raises:
        KubectlError: no object can be called that; kubectl would take it for a flag, or for a path.
    """
    if not re.fullmatch(SUBDOMAIN, name):
        raise KubectlError(f"nothing can be called {name!r}: a name has small letters, digits, - and . only")
    return name


def refusal(said: str, needs: Right) -> KubectlError:
    """The error that kubectl's words mean."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    why = (errors or lines or ["kubectl failed without a word"])[-1].removeprefix("error: ")
    bare = re.sub(r"^Error from server \(\w+\): ", "", why)
    if "(NotFound)" in why or " not found" in why:
        return NotThereError(bare)
    if "(Forbidden)" in why or "is forbidden" in why:
        return NotAllowedError(f"this needs the right to {needs}: {bare}")
    if "(Unauthorized)" in why or "must be logged in" in why:
        return KubectlError(f"the cluster does not know who you are: log in anew ({why})")
    if "doesn't have a resource type" in why or "could not find the requested resource" in why:
        return KubectlError(
            "this cluster knows no Plants: is it the right context? If it is, install the chart, or the definitions in "
            "crds/"
        )
    return KubectlError(bare)


def _parsed(said: str) -> Json:
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise KubectlError(f"an answer that is no JSON object: {said[:80]!r}")
    return found

"""The judge's process: hands messages to judge.mjs on Node and brings the verdicts back, in order.

Keys go over its standard input, never over its arguments or environment. The process ends when that
input is closed, also by a crash of ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from voke_sim.node import node_executable
from voke_sim.voke.records import Kind, Note

T = TypeVar("T")

SOURCE = Path(__file__).with_name("judge.mjs")

SignaturePolicy = Literal["required", "optional"]
"""Whether unsigned telemetry, acks and alarms are refused (Voke's pages disagree, protocol §4)."""

Forgery = Literal["unsigned", "wrong", "foreign-key"]
"""Commands that a plant must not obey, for tests: no signature, a wrong one, one by another key."""

_CHUNK = 1 << 18
_STOP_WITHIN = 5.0


class JudgeError(RuntimeError):
    """The judge's process failed, or could not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The suffixes on which Voke's own pages disagree (protocol §2)."""

    command: str = "command"
    ack: str = "ack"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says about one message."""

    plant_id: str | None
    kind: Kind | None
    reason: str | None
    """None: accepted."""
    detail: str
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command to be signed by JavaScript."""

    plant_id: str
    cmd_id: str
    ts: int
    """Unix milliseconds."""
    type: str
    p: dict[str, Any] | None = None
    """None: the key is absent."""


class Judge:
    """A running judge."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._errors = process.stderr
        self._waiting: deque[Callable[[dict[str, Any]], None]] = deque()
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._closing = False
        self.failure: JudgeError | None = None
        """Why it is of no more use; None while it works."""
        self.on_batch: Callable[[], None] = lambda: None
        """Called after each batch of verdicts, and when the judge fails."""
        self._reader = asyncio.create_task(self._read(), name="voke-judge")

    @classmethod
    async def start(
        cls,
        *,
        replay_window: float = 30.0,
        signature: SignaturePolicy = "required",
        topics: Topics | None = None,
    ) -> Judge:
        """Start Node. The replay window is in seconds, to both sides.

        Raises:
            NodeMissingError: there is no Node.
        """
        topics = topics or Topics()
        process = await asyncio.create_subprocess_exec(
            str(node_executable()), str(SOURCE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must not end it before the last messages are judged
        )  # fmt: skip
        judge = cls(process)
        judge._send(
            {
                "op": "policy",
                "replayWindowMs": round(replay_window * 1000),
                "signature": signature,
                "topics": {"command": topics.command, "ack": topics.ack},
            }
        )
        return judge

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def register(self, plant_id: str, hmac_key: bytes) -> None:
        """Tell the judge a plant and its key; again: only the new key counts."""
        self._send({"op": "register", "plant": plant_id, "key": base64.b64encode(hmac_key).decode()})

    def forget(self, plant_id: str) -> None:
        """Refuse what comes from this plant."""
        self._send({"op": "forget", "plant": plant_id})

    def submit(
        self, topic: str, payload: bytes, *, at: float, retain: bool, then: Callable[[Verdict], None]
    ) -> None:
        """Have a message judged that was received ``at`` (seconds since the epoch)."""
        self._ask(
            {
                "op": "judge",
                "topic": topic,
                "payload": base64.b64encode(payload).decode(),
                "at": int(at * 1000),
                "retain": retain,
            },
            lambda answer: then(_verdict(answer)),
        )

    async def judge(self, topic: str, payload: bytes, *, at: float, retain: bool = False) -> Verdict:
        """The verdict on one message.

        Raises:
            JudgeError: the process failed.
        """
        answered: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.submit(topic, payload, at=at, retain=retain, then=lambda verdict: _settle(answered, verdict))
        return await self._answer(answered)

    async def sign(self, command: Command, *, forged: Forgery | None = None) -> tuple[str, bytes]:
        """Topic and payload of a signed command. Acknowledging a forged one is refused.

        Raises:
            JudgeError: the plant is not registered, or the process failed.
            ValueError: ``p`` is not JSON.
        """
        request: dict[str, Any] = {
            "op": "sign",
            "plant": command.plant_id,
            "cmdId": command.cmd_id,
            "ts": command.ts,
            "type": command.type,
        }
        if command.p is not None:
            request["p"] = command.p
        if forged is not None:
            request["forged"] = forged
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._ask(request, lambda answer: _settle(answered, answer))
        answer = await self._answer(answered)
        if "error" in answer:
            raise JudgeError(answer["error"])
        return answer["topic"], answer["payload"].encode()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    async def close(self) -> None:
        """Let it finish and end. Idempotent."""
        self._closing = True
        self._input.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_WITHIN)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    def _ask(self, request: dict[str, Any], then: Callable[[dict[str, Any]], None]) -> None:
        self._send(request)
        self._waiting.append(then)

    def _send(self, request: dict[str, Any]) -> None:
        if self.failure is not None:
            raise self.failure
        self._input.write(json.dumps(request, allow_nan=False, separators=(",", ":")).encode() + b"\n")

    async def _answer(self, future: asyncio.Future[T]) -> T:
        self._unanswered.add(future)
        try:
            return await future
        finally:
            self._unanswered.discard(future)

    async def _read(self) -> None:
        unfinished = b""
        while chunk := await self._output.read(_CHUNK):
            *lines, unfinished = (unfinished + chunk).split(b"\n")
            for line in lines:
                self._waiting.popleft()(json.loads(line))
            self.on_batch()
        self.failure = JudgeError("the judge was closed")
        if not self._closing:
            said = (await self._errors.read()).decode(errors="replace").strip()
            self.failure = JudgeError(f"the judge ended unexpectedly: {said or 'it said nothing'}")
        for future in self._unanswered:
            if not future.done():
                future.set_exception(self.failure)
        self.on_batch()


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _verdict(answer: dict[str, Any]) -> Verdict:
    return Verdict(
        plant_id=answer.get("plant"),
        kind=cast("Kind | None", answer.get("kind")),
        reason=None if answer["ok"] else answer["reason"],
        detail=answer.get("detail", ""),
        notes=tuple(Note(code, subject) for code, subject in answer.get("notes", ())),
    )

"""Telegraf in the gateway's place: built from source, configured for the same fleet, its messages counted.

It is configured for the most that it was found to carry (docs/CONFIGURATION.md and the READMEs of inputs.modbus and
outputs.mqtt, 1.37): one input per PLC, whose registers make one request; of several PLCs to a plant one message; MQTT
3.1.1, its default, which costs it less than 5; readings kept in memory; no host tag, no log of what went well. Where it
and the judge could be of two minds, it is given the benefit of the doubt.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from bench.fleet import VALUES, Plant, Site, field
from bench.subject import Subject
from bench.verify import CONTENT_EVERY, Known, Tally, same_values
from tests.cluster.binaries import fill, go_build, place_in_cache, required
from voke_gateway.plant.schedule import phase

SOURCE: Final = Path(__file__).with_name("telegraf")
_PACKAGE: Final = "github.com/influxdata/telegraf"
_TAGS: Final = "custom,inputs.modbus,outputs.mqtt,serializers.json"
_CONFIGURATION: Final = "telegraf.conf"
_SPREAD: Final = 0.5
"""Of the second, over which collections are spread: one that is begun later than the rest of it is left out."""
_BATCH: Final = 500
"""Readings in one write of a session with many plants: with more than a second's, a message could become too long."""
_KEPT: Final = 60
"""Readings of each PLC that may wait."""


def version() -> str:
    """Of the Telegraf that is built here, without the ``v``."""
    return required(SOURCE, _PACKAGE)


def program() -> Path:
    """Telegraf with the plugins that it needs here; built the first time, which takes minutes.

    Raises:
        BinariesError: there is no Go, or it failed.
    """
    place = place_in_cache("telegraf", version(), SOURCE)
    fill(place, f"Telegraf {version()}", _build)
    return place


def _build(place: Path) -> None:
    variables = {f"{_PACKAGE}/internal.Version": version()}
    go_build(SOURCE, place, [f"-tags={_TAGS}", f"{_PACKAGE}/cmd/telegraf"], variables)


def telegraf(telegraf_program: Path, *, sessions: int | None) -> Subject:
    """The subject, whose scheduler sees one core too.

    ``sessions``: over which all plants are spread; None: one for each plant, under the plant's identity.
    """
    words = {None: "a session per plant", 1: "one session"}
    return Subject(
        f"Telegraf, {words.get(sessions, f'{sessions} sessions')}",
        (str(telegraf_program), "--strict-env-handling", "--config", f"{{documents}}/{_CONFIGURATION}"),
        write=functools.partial(write_configuration, sessions=sessions),
        tally=functools.partial(Metrics, sessions=sessions),
        topics="cpi/+/+",
        environment={"GOMAXPROCS": "1"},
        files_per_plc=1,
        kept_for=1.0,
    )


@dataclass(frozen=True, slots=True)
class _Session:
    """One output: its place among them, and its plants, of which the first lends its identity."""

    number: int
    plants: tuple[Plant, ...]
    certificate: str

    @property
    def identity(self) -> str:
        return self.plants[0].plant_id

    def topic(self, plant: str) -> str:
        """Where a plant's readings are published; the broker grants nothing outside of the identity's part."""
        return f"cpi/{self.identity}/{plant}"


def _sessions(plants: Sequence[Plant], certificates: Sequence[str], number: int | None) -> list[_Session]:
    count = min(number or len(plants), len(plants))
    return [_Session(n, tuple(plants[n::count]), certificates[n]) for n in range(count)]


def write_configuration(
    directory: Path,
    plants: Sequence[Plant],
    site: Site,
    certificates: Sequence[str],
    endpoints: Sequence[tuple[str, int]],
    *,
    sessions: int | None,
) -> None:
    """Telegraf's file, and its keys."""
    directory.mkdir(parents=True)
    _write(directory / "ca.pem", site.ca_pem)
    _write(directory / "client.key", site.client_key_pem)
    parts = [_AGENT]
    for session in _sessions(plants, certificates, sessions):
        _write(directory / f"{session.number}.pem", session.certificate)
        parts.append(_output(directory, site, session))
        for plant in session.plants:
            parts += [_input(session, plant, k, endpoints[place]) for k, place in enumerate(plant.plcs)]
    _write(directory / _CONFIGURATION, "\n".join(parts))


def _write(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)


_AGENT = """\
[agent]
interval = "1s"
round_interval = true
precision = "1ms"
flush_interval = "1s"
omit_hostname = true
skip_processors_after_aggregators = true
quiet = true
"""


def _output(directory: Path, site: Site, session: _Session) -> str:
    """A session of one plant writes as soon as it has the readings of a tick, others when there are many."""
    plcs = sum(len(plant.plcs) for plant in session.plants)
    largest = max(len(plant.plcs) for plant in session.plants)
    return f"""\
[[outputs.mqtt]]
namepass = ["s{session.number}"]
servers = ["mqtts://{site.host}:{site.port}"]
client_id = "{session.identity}"
topic = '{session.topic('{{ .Tag "plant" }}')}'
qos = 1
layout = "{"batch" if largest > 1 else "non-batch"}"
metric_batch_size = {largest if len(session.plants) == 1 else _BATCH}
metric_buffer_limit = {_KEPT * plcs}
tls_ca = "{directory}/ca.pem"
tls_cert = "{directory}/{session.number}.pem"
tls_key = "{directory}/client.key"
data_format = "json"
json_timestamp_units = "1ms"
"""


def _input(session: _Session, plant: Plant, device: int, endpoint: tuple[str, int]) -> str:
    host, port = endpoint
    return f"""\
[[inputs.modbus]]
name = "P{device}"
controller = "tcp://{host}:{port}"
timeout = "2s"
collection_offset = "{round(_SPREAD * phase(plant.plant_id) * 1e6)}us"
configuration_type = "metric"
exclude_register_type_tag = true
[[inputs.modbus.metric]]
slave_id = 1
measurement = "s{session.number}"
fields = [
{_FIELDS}
]
[inputs.modbus.metric.tags]
plant = "{plant.name}"
"""


_FIELDS = ",\n".join(
    f'{{ address = {2 * k}, name = {json.dumps(field(k))}, type = "FLOAT32" }}' for k in range(VALUES)
)


class Metrics(Tally):
    """Takes readings that are whole and have the PLC's values."""

    def __init__(
        self,
        plants: Sequence[Plant],
        *,
        silent: frozenset[int] = frozenset(),
        sessions: int | None,
    ) -> None:
        self._topics = {
            plant: session.topic(plant.name)
            for session in _sessions(plants, [""] * len(plants), sessions)
            for plant in session.plants
        }
        super().__init__(plants, silent=silent)
        for known in self._plants.values():
            known.phase *= _SPREAD

    def topic(self, plant: Plant) -> str:
        """In the part of its session's identity."""
        return self._topics[plant]

    def judge(self, known: Known, payload: bytes, now: float) -> str:
        """Values are judged as the gateway's are; nothing says when a message was sent, so that is now."""
        message: dict[str, Any] = orjson.loads(payload)
        compare = known.messages % CONTENT_EVERY == 0
        ticks: dict[int, tuple[int, float]] = {}
        for metric in message.get("metrics", (message,)):
            name, values = metric["tags"]["name"], metric["fields"]
            if len(values) != VALUES:
                return "values missing"
            if compare and not same_values(values, known.content[name]):
                return "values wrong"
            read_at, device = metric["timestamp"] / 1000, known.devices[name]
            tick = known.tick(read_at)
            # The time is that of the reading's end: a second reading in one tick may be the late one of the tick before.
            if known.seen.get(tick, 0) & device and not known.seen.get(tick - 1, 0) & device:
                tick -= 1
            mask, earliest = ticks.get(tick, (0, read_at))
            ticks[tick] = (mask | device, min(earliest, read_at))
        for tick, (mask, read_at) in ticks.items():
            self.arrived(known, mask, tick=tick, read_at=read_at, sent_at=now, now=now)
        return ""

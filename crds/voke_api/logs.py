"""Logs: one line per change of state, as logfmt or JSON on standard error."""

from __future__ import annotations

import json
import logging
import sys
from typing import Literal, TextIO

import structlog

LogFormat = Literal["logfmt", "json"]


class _Logfmt(structlog.processors.LogfmtRenderer):
    """As it is, and what PLCs and Voke say stays text: a terminal that shows the line does nothing else."""

    def __call__(
        self, logger: structlog.typing.WrappedLogger, name: str, event: structlog.typing.EventDict
    ) -> str:
        line = super().__call__(logger, name, event)
        return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def configure(
    log_format: LogFormat = "logfmt", *, level: int = logging.INFO, to: TextIO | None = None
) -> None:
    """Send everything that is logged, by us and by libraries, to ``to`` in one form.

    Libraries are heard from warnings on: their informational lines repeat what ours say with context.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else _Logfmt(key_order=["time", "level", "event", "plant"], bool_as_flag=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in ("aiomqtt", "paho", "mqtt", "asyncio", "kopf"):
        logging.getLogger(library).setLevel(logging.WARNING)

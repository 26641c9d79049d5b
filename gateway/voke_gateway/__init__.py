"""The gateway: many PLC connections in, one signed MQTT session per plant out."""

from voke_gateway._structlog import import_without_rich

import_without_rich()

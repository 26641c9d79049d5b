"""A Voke on this machine: mosquitto with Voke's listeners, and a judge in JavaScript.

Start with :class:`LocalVoke`.
"""

from voke_sim.voke.access import JwtKeys
from voke_sim.voke.broker import Broker, BrokerError, Ports
from voke_sim.voke.judge import Forgery, Judge, JudgeError, SignaturePolicy, Topics, Verdict
from voke_sim.voke.local import LocalVoke
from voke_sim.voke.passwords import PasswordLogin
from voke_sim.voke.pki import CertificateAuthority, CertificateError
from voke_sim.voke.plugin import PluginBuildError
from voke_sim.voke.records import (
    Accepted,
    Ack,
    AlarmInstance,
    Counters,
    Latest,
    Note,
    Records,
    Refused,
    SentCommand,
)

__all__ = [
    "Accepted",
    "Ack",
    "AlarmInstance",
    "Broker",
    "BrokerError",
    "CertificateAuthority",
    "CertificateError",
    "Counters",
    "Forgery",
    "Judge",
    "JudgeError",
    "JwtKeys",
    "Latest",
    "LocalVoke",
    "Note",
    "PasswordLogin",
    "PluginBuildError",
    "Ports",
    "Records",
    "Refused",
    "SentCommand",
    "SignaturePolicy",
    "Topics",
    "Verdict",
]

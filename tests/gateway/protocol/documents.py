"""Random JSON texts that try every way in which JavaScript and Python could disagree. Seeded, fast.

No key contains a backslash: V8 12.8 to at least 14.6 (Node 24 to 26) takes an escaped key such as ``"\\n"`` for
an earlier one that does, in any object parsed before (V8 bug 521080746). Node 20 judges such texts as we do.
"""

from __future__ import annotations

import json
import math
import re
import struct
from random import Random

# fmt: off
_ODD_NUMBERS = (
    "0", "-0", "0.0", "-0.0", "0e0", "-0e-5", "0.0E+7", "1E+2", "1E2", "1e-2", "0.1e-6", "1.10E-0005",
    "231.0", "-820.0", "12.500", "1e400", "-1e400", "1e-400", "5e-324", "2.5e-324",
    "4.9406564584124654e-324", "2.2250738585072014e-308", "2.225073858507201e-308",
    "1.7976931348623157e308", "1.7976931348623159e308", "1e20", "1e21", "999999999999999900000",
    "999999999999999999999", "1e-5", "1e-6", "1e-7", "0.000001", "0.0000001", "0.00000099999999999999999",
    "1.5e-7", "1e15", "1e16", "1.5e16", "1e17", "1e22", "1e23", "123456789012345678",
    "123456789012345678.0", "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993",
    "9007199254740992.5", "9007199254740993.0", "9223372036854775807", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "1000000000000000000000", "0.30000000000000004",
    "0.1000000000000000055511151231257827021181583404541015625", "100.0e-1", "4.35", "0.000035689",
    "295147905179352830000",
)
_PIECES = (
    "", "a", "kW", "state", "é", "ž", "°C", "😀", "𝒳", "｡", "\ue000", "\uffff", "\u2028", "\u2029", "\x7f",
    "\x80", "/", "<&>", "'", " ", "|", "1.0,", ".0}", "x.0]", "1.0", "-0.0,", "1e5", "3e-7", "e+9", ":1.0,",
    r"\"", r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u0000", r"\u001f", r"\u000b", r"\u0041",
    r"\u00e9", r"\u00E9", r"\u2028", r"\ud83d\ude00", r"\uD83D\uDE00", r"\ud800", r"\udfff", r"\ude00\ud83d",
)
_KEYS = (
    "a", "b", "B", "", "10", "9", "1", "aa", "é", "z", "ts", "__proto__", "constructor", "toString", "length",
    "｡", "\ue000", "😀", "𝒳", r"\ud83d\ude00", r"\ud800", r"\udbff", r"\uffff", "a.0,", r"\u0061", "e1",
)
# fmt: on
_KEY_WITH_BACKSLASH = re.compile(r'\\\\(?:[^"\\]|\\.)*"\s*:', re.DOTALL)
_SPACES = ("", "", "", "", "", "", " ", "\n", "\t", "\r\n  ")
_CLUTTER = (
    *'{}[]",:.0123456789-+eE\\utrfn \x00\x0b\x0c\ufeff\u00a0Na/*',
    "NaN",
    "Infinity",
    "\\x",
    "\\u12",
    "",
)
_FIELDS = ("activePowerKw", "phase1VoltageV", "socPercent", "batteryPowerW", "faultCode", "state", "e1", "°C")


def document(random: Random) -> str:
    """One text, nearly always JSON."""
    kind = random.random()
    if kind < 0.35:
        return _snapshot(random)
    if kind < 0.36:
        return _deep(random)
    text = _value(random, 4)
    if kind > 0.95:
        text = _spoilt(random, text)
    return document(random) if _KEY_WITH_BACKSLASH.search(text) else text


def _value(random: Random, depth: int) -> str:
    kind = random.random()
    if depth == 0 or kind < 0.35:
        return _scalar(random)
    space = random.choice(_SPACES)
    items = range(random.choice((0, 1, 1, 2, 2, 3, 4, 6)))
    if kind < 0.55:
        return f"[{space}{','.join([_value(random, depth - 1) for _ in items])}{space}]"
    members = [f'"{_key(random)}"{space}:{space}{_value(random, depth - 1)}' for _ in items]
    return f"{{{space}{f',{space}'.join(members)}}}"


def _scalar(random: Random) -> str:
    kind = random.random()
    if kind < 0.6:
        return number_token(random)
    if kind < 0.9:
        return f'"{"".join(random.choices(_PIECES, k=random.choice((0, 1, 1, 2, 4))))}"'
    return random.choice(("true", "false", "null"))


def number_token(random: Random) -> str:
    """One JSON number, in any spelling."""
    kind = random.random()
    if kind < 0.2:
        return random.choice(_ODD_NUMBERS)
    if kind < 0.4:
        double = struct.unpack("<d", random.randbytes(8))[0]
        spelling = random.choice(("%r", "%.17g", "%.16e", "%.3E"))
        return spelling % double if math.isfinite(double) else "0"
    if kind < 0.6:
        digits = random.randrange(10 ** random.randrange(1, 18))
        fraction = random.choice(("", ".0", ".5", ".25", f".{random.randrange(10**6)}"))
        return f"{random.choice(('', '-'))}{digits}{fraction}e{random.randrange(-26, 26)}"
    if kind < 0.7:
        edge = 2 ** random.choice((24, 31, 32, 52, 53, 54, 63, 64, 70)) + random.randrange(-3, 4)
        return f"{random.choice(('', '-'))}{edge}{random.choice(('', '', '.0', '.5'))}"
    if kind < 0.8:
        return str(random.randrange(-(10 ** random.randrange(1, 26)), 10 ** random.randrange(1, 26)))
    return repr(random.randrange(-(10**7), 10**7) / random.choice((1, 10, 100, 1000, 1e9, 1e12)))


def _key(random: Random) -> str:
    return random.choice(_KEYS) if random.random() < 0.8 else random.choice(_PIECES)


def _snapshot(random: Random) -> str:
    devices = []
    for position in range(random.choice((1, 2, 5))):
        values: dict[str, object] = {}
        for field in random.sample(_FIELDS, random.randrange(1, 6)):
            values[field] = _reading(random)
        devices.append({"externalId": f"INV{position}", "type": "INVERTER", "values": values})
    return json.dumps({"devices": devices, "timestamp": "2026-11-22T09:30:00.250Z"}, ensure_ascii=False)


def _reading(random: Random) -> object:
    kind = random.random()
    if kind < 0.5:
        return round(random.uniform(-1000, 1000), random.choice((0, 1, 1, 2, 3)))
    if kind < 0.8:
        return random.randrange(-(2**31), 2**32)
    if kind < 0.9:
        return random.uniform(-1, 1) * 10 ** random.randrange(-9, 18)
    return random.choice(
        (True, False, None, "RUN", "v1.0, rev 2", "běží", "1.0", "3e5", -0.0, 0.0, "a\nb", "😀")
    )


def _deep(random: Random) -> str:
    depth = random.randrange(1, 510)
    opening = [random.choice(("[", '{"a":', '[1.0,{"b":')) for _ in range(depth // 2)]
    closing = {"[": "]", '{"a":': "}", '[1.0,{"b":': "}]"}
    return "".join(opening) + _scalar(random) + "".join(closing[each] for each in reversed(opening))


def _spoilt(random: Random, text: str) -> str:
    at = random.randrange(len(text) + 1)
    clutter: str = random.choice(_CLUTTER)
    return text[:at] + clutter + text[at + random.randrange(2) :]

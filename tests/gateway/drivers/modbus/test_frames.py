"""Requests and replies on the wire; pymodbus is the judge of what a request looks like."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from voke_api.resources.common import Table
from voke_gateway.drivers.base import FaultKind
from voke_gateway.drivers.modbus.frames import (
    ExceptionReplyError,
    MalformedReplyError,
    Request,
    payload,
    read_request,
    write_coil_request,
    write_registers_request,
)

READS: dict[Table, type[ModbusPDU]] = {
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
}
addresses = st.integers(0, 65535)
units = st.integers(0, 255)


def on_the_wire(pdu: ModbusPDU) -> bytes:
    return FramerSocket(DecodePDU(False)).buildFrame(pdu)[2:]


@given(st.sampled_from(sorted(READS)), units, addresses, st.integers(1, 125))
def test_reads_are_as_pymodbus_makes_them(table: Table, unit: int, address: int, count: int) -> None:
    assert read_request(unit, table, address, count).tail == on_the_wire(
        READS[table](dev_id=unit, address=address, count=count)
    )


@given(
    unit=units,
    address=addresses,
    words=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=4),
    multiple=st.booleans(),
)
def test_register_writes_are_as_pymodbus_makes_them(
    *, unit: int, address: int, words: list[int], multiple: bool
) -> None:
    single = len(words) == 1 and not multiple
    kind = WriteSingleRegisterRequest if single else WriteMultipleRegistersRequest
    expected = on_the_wire(kind(dev_id=unit, address=address, registers=words))
    assert write_registers_request(unit, address, words, multiple=multiple).tail == expected


@pytest.mark.parametrize("on", [True, False])
def test_coil_writes_are_as_pymodbus_makes_them(*, on: bool) -> None:
    single = on_the_wire(WriteSingleCoilRequest(dev_id=7, address=9, bits=[on]))
    several = on_the_wire(WriteMultipleCoilsRequest(dev_id=7, address=9, bits=[on]))
    assert write_coil_request(7, 9, on=on).tail == single
    assert write_coil_request(7, 9, on=on, multiple=True).tail == several


HOLDING = read_request(3, "holding", 40, 2)


@pytest.mark.parametrize(
    ("request_", "reply", "brings"),
    [
        (HOLDING, b"\x03\x04\x00\x01\x00\x02", b"\x00\x01\x00\x02"),
        (read_request(3, "coil", 0, 9), b"\x01\x02\xff\x01", b"\xff\x01"),
        (write_registers_request(1, 40, [5]), b"\x06\x00\x28\x00\x05", b""),
        (write_registers_request(1, 40, [5, 6]), b"\x10\x00\x28\x00\x02", b""),
        (write_coil_request(1, 40, on=True), b"\x05\x00\x28\xff\x00", b""),
    ],
)
def test_a_reply_that_fits_brings_its_data(request_: Request, reply: bytes, brings: bytes) -> None:
    assert payload(request_, reply) == brings


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"\x04\x04\x00\x01\x00\x02", "function code 4 instead of 3 on holding 40–41, unit 3"),
        (b"\x03\x02\x00\x01", "4 bytes instead of 6"),
        (b"\x03\x06\x00\x01\x00\x02\x00\x03", "8 bytes instead of 6"),
        (b"\x03\x04\x00\x01\x00\x02\x00", "7 bytes instead of 6"),
        (b"\x03\x02\x00\x01\x00\x02", "repeats another request"),
        (b"\x84\x02", "function code 132"),
        (b"\x83\x02\x00", "function code 131"),
    ],
)
def test_a_reply_that_does_not_fit_is_malformed(reply: bytes, message: str) -> None:
    with pytest.raises(MalformedReplyError, match=message):
        payload(HOLDING, reply)


@pytest.mark.parametrize("echo", [struct.pack(">BHH", 6, 41, 5), struct.pack(">BHH", 6, 40, 6)])
def test_an_echo_of_another_write_is_malformed(echo: bytes) -> None:
    with pytest.raises(MalformedReplyError):
        payload(write_registers_request(1, 40, [5]), echo)


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (1, FaultKind.REFUSED, "exception 1 (illegal function) on holding 40–41, unit 3"),
        (2, FaultKind.REFUSED, "exception 2 (illegal data address) on holding 40–41, unit 3"),
        (6, FaultKind.BUSY, "exception 6 (server device busy) on holding 40–41, unit 3"),
        (
            11,
            FaultKind.NO_UNIT,
            "exception 11 (gateway target device failed to respond) on holding 40–41, unit 3",
        ),
        (77, FaultKind.REFUSED, "exception 77 (of the manufacturer's own) on holding 40–41, unit 3"),
    ],
)
def test_an_exception_says_what_and_where(code: int, kind: FaultKind, text: str) -> None:
    with pytest.raises(ExceptionReplyError) as caught:
        payload(HOLDING, bytes((0x83, code)))
    assert (caught.value.kind, str(caught.value)) == (kind, text)

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_contract.errors import ContractError
from fleet_contract.messages import (
    Ack,
    Command,
    DeviceState,
    Envelope,
    Gap,
    Heartbeat,
    LinkStatus,
    Message,
    Record,
    Request,
    ResponseHead,
    Stream,
)

MODELS: tuple[type[Message], ...] = (
    Ack, Command, DeviceState, Envelope, Gap, Heartbeat, LinkStatus, Record, Request, ResponseHead,
)  # fmt: skip
STAMP = {"boot_id": "b", "monotonic_s": 1.0, "time_s": 2.0, "clock_synchronised": True}


@pytest.mark.parametrize("model", MODELS)
@given(payload=st.binary(max_size=200))
def test_hostile_bytes_are_a_contract_error_and_nothing_else(
    model: type[Message], payload: bytes
) -> None:
    with pytest.raises(ContractError):
        model.decode(payload)


@given(
    st.dictionaries(
        st.from_regex(r"new_[a-z]{1,8}", fullmatch=True), st.integers() | st.text(), max_size=4
    )
)
def test_unknown_fields_survive_a_round_trip(extra: dict[str, object]) -> None:
    raw = json.dumps({"v": 1, "online": True, "connection_id": "c", "time_s": 1.0, **extra})
    again = json.loads(LinkStatus.decode(raw.encode()).encode())
    assert extra.items() <= again.items()


@given(st.integers(1, 10**9), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_a_record_round_trips(number: int, body: dict[str, int]) -> None:
    record = Record(number=number, through=number, body=body, **STAMP)
    envelope = Envelope(device="d", spool_id="s", stream=Stream.EVENTS, records=[record])
    assert Envelope.decode(envelope.encode()) == envelope


def test_a_gap_spans_its_numbers() -> None:
    gap = Gap(records=4, reason="spool full")
    record = Record(number=3, through=6, gap=gap, **STAMP)
    assert record.through == 6


@pytest.mark.parametrize(
    "change",
    [
        {"body": None},
        {"gap": {"records": 1, "reason": "x"}},
        {"through": 9},
        {"number": 0},
    ],
    ids=["neither", "both", "through-without-gap", "number-zero"],
)
def test_a_record_that_is_not_one_thing_is_refused(change: dict[str, object]) -> None:
    whole = {"number": 5, "through": 5, "body": {}, **STAMP, **change}
    with pytest.raises(ContractError):
        Record.decode(json.dumps(whole).encode())


def test_another_version_is_refused_with_the_field_named() -> None:
    with pytest.raises(ContractError, match="v: "):
        LinkStatus.decode(b'{"v": 2, "online": true, "connection_id": "c", "time_s": 1}')


def test_more_records_than_an_envelope_may_hold_are_refused() -> None:
    record = {"number": 1, "through": 1, "body": {}, **STAMP}
    raw = {"device": "d", "spool_id": "s", "stream": "events", "records": [record] * 1001}
    with pytest.raises(ContractError):
        Envelope.decode(json.dumps(raw).encode())

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_contract import topics
from fleet_contract.errors import ContractError

DEVICE = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
DIGEST = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
ID = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
NUMBER = st.integers(0, 999_999_999)


def _levels(topic: topics.Topic) -> dict[str, st.SearchStrategy[object]]:
    known: dict[str, st.SearchStrategy[object]] = {
        "device": DEVICE, "digest": DIGEST, "id": ID, "n": NUMBER,
    }  # fmt: skip
    return {name: known[name] for name in known if "{" + name + "}" in topic.template}


@pytest.mark.parametrize("topic", topics.TABLE, ids=lambda topic: topic.name)
@given(data=st.data())
def test_every_topic_parses_to_what_it_was_built_from(
    topic: topics.Topic, data: st.DataObject
) -> None:
    levels = {name: data.draw(strategy) for name, strategy in _levels(topic).items()}
    address = topics.parse(topics.build(topic.name, **levels))  # type: ignore[arg-type]
    assert address.name == topic.name
    assert {name: getattr(address, name) for name in levels} == levels


@given(st.text(max_size=100))
def test_a_foreign_topic_is_refused_and_never_crashes(text: str) -> None:
    with pytest.raises(ContractError):
        topics.parse(text)


@pytest.mark.parametrize("device", ["", "+", "#", "a/b", "a b", "ä", "x" * 65, "a\n"])
def test_a_device_that_could_leave_its_level_is_refused(device: str) -> None:
    with pytest.raises(ContractError):
        topics.build("state", device=device)


def test_a_missing_level_is_refused() -> None:
    with pytest.raises(ContractError, match="lacks a level"):
        topics.build("samples", device="a", id="x")


def test_a_subscription_leaves_open_what_is_not_given() -> None:
    assert topics.subscription("res", device="a") == "loupe/v1/dev/a/down/res/+/+"


def test_a_payload_above_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    limit = topics.BY_NAME["link"].limit
    topics.check_size("link", b"x" * limit)
    with pytest.raises(ContractError, match="too large"):
        topics.check_size("link", b"x" * (limit + 1))

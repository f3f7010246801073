"""Masks of payloads that leave a runtime: which values they hide, and what they keep of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.core.payload_masks import PayloadMasks

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
PAYLOADS = st.dictionaries(st.text(max_size=6), JSON, max_size=5)

ORDER = {
    "email": "ada@example.org",
    "customer": {"email": "ada@example.org", "age": 36, "is_new": True, "note": None},
    "items": [{"card": "4111", "price": 2.5}, {"card": "4222", "price": 3.5}],
}


def test_a_bare_name_is_masked_at_any_depth_and_equal_values_stay_equal():
    masked = PayloadMasks("email").apply(ORDER)
    assert masked["email"] == masked["customer"]["email"]
    assert masked["email"].startswith("***")
    assert "ada" not in str(masked)
    assert masked["items"] == ORDER["items"]


def test_a_path_begins_at_the_payload_and_a_star_is_one_step():
    masks = PayloadMasks("items.*.card,*.age")
    masked = masks.apply(ORDER)
    masks.check()
    assert [item["price"] for item in masked["items"]] == [2.5, 3.5]
    cards = [item["card"] for item in masked["items"]]
    assert len(set(cards)) == 2
    assert all(card.startswith("***") for card in cards)
    assert masked["customer"]["age"] not in (36, 0)
    assert masked["email"] == ORDER["email"]


def test_a_number_in_a_path_is_a_place_in_a_list():
    masked = PayloadMasks("items.1.card").apply(ORDER)
    assert masked["items"][0] == ORDER["items"][0]
    assert masked["items"][1]["card"] != "4222"


@pytest.mark.parametrize(
    ("value", "type_"), [("a", str), (7, int), (2.5, float), (True, bool), (None, type(None))]
)
def test_a_masked_value_keeps_its_type(value, type_):
    assert type(PayloadMasks("x").apply({"x": value})["x"]) is type_


def test_of_a_masked_list_or_object_each_value_is_masked_and_rules_within_it_count():
    masks = PayloadMasks("customer,items,items.*.card,customer.email")
    masked = masks.apply(ORDER)
    masks.check()
    assert masked["customer"].keys() == ORDER["customer"].keys()
    assert [item["price"] for item in masked["items"]] != [2.5, 3.5]


def test_texts_that_are_named_like_secrets_are_masked_without_a_rule_and_counts_are_not():
    masked = PayloadMasks().apply({"api_key": "sk-1", "max_tokens": 5, "auth": {"password": {"old": "p"}}})
    assert masked["max_tokens"] == 5
    assert masked["api_key"].startswith("***")
    assert masked["auth"]["password"]["old"].startswith("***")


def test_a_text_that_has_the_token_of_the_request_in_it_is_masked():
    masks = PayloadMasks(secrets=["s3cret-token", ""])
    assert "s3cret" not in str(masks.apply({"url": "http://x/?t=s3cret-token", "list": ["s3cret-token"]}))
    assert masks.apply({"url": "http://x"}) == {"url": "http://x"}


def test_two_sets_of_masks_have_nothing_in_common():
    assert PayloadMasks("x").apply({"x": "a"}) != PayloadMasks("x").apply({"x": "a"})


@pytest.mark.parametrize(
    ("rules", "near"),
    [
        ("emial", "was email meant?"),
        ("customer.emial", "was customer.email meant?"),
        ("items.card", r"was items.\*.card meant?"),
        ("zzz", "there are email, customer"),
    ],
)
def test_a_rule_that_masks_nothing_is_refused_and_the_near_field_named(rules, near):
    masks = PayloadMasks(rules)
    masks.apply(ORDER)
    with pytest.raises(UsageError, match=near) as error:
        masks.check()
    assert "\n" not in str(error.value)
    assert "nothing was written" in str(error.value)


def test_without_any_field_a_rule_is_refused_too():
    with pytest.raises(UsageError, match="no payload has any field"):
        PayloadMasks("x").check()


@pytest.mark.parametrize("rules", ["a,,b", "a..b", ".a", ",", "a."])
def test_what_is_no_rule_is_refused(rules):
    with pytest.raises(UsageError, match="is no rule"):
        PayloadMasks(rules)


def test_too_many_rules_are_refused():
    with pytest.raises(UsageError, match="at most 200"):
        PayloadMasks(",".join(f"f{n}" for n in range(201)))


def test_a_payload_that_is_nested_too_deep_is_refused():
    deep: dict = {}
    for _ in range(5_000):
        deep = {"x": deep}
    with pytest.raises(UsageError, match="nested too deep"):
        PayloadMasks("x").apply(deep)


@given(PAYLOADS)
def test_without_rules_and_secrets_a_payload_stays_as_it_is(payload):
    masks = PayloadMasks()
    if masks.apply(payload) != payload:
        assert masks.masked


@given(PAYLOADS, st.sampled_from(["*", "*.*", "a"]))
def test_masks_keep_the_shape_of_a_payload(payload, rules):
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(item) for item in value] if isinstance(value, list) else type(value)

    assert shape(PayloadMasks(rules).apply(payload)) == shape(payload)

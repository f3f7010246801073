"""Answers to prompts: their shape, and their text."""

from __future__ import annotations

import pytest

from dnworker.sessions.prompts import QuestionAnswer, check_response


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"text": "a", "custom_text": "b"}, "a"),
        ({"custom_text": "b", "selected_labels": ["c"]}, "b"),
        ({"selected_labels": ["c", "d"]}, "c, d"),
        ({}, ""),
    ],
)
def test_an_answer_is_text_whatever_its_form(fields, content):
    assert QuestionAnswer(**fields).content == content


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"request_id": ""}, "length >= 1"),
        ({"request_id": "r"}, "exactly one of action and decision"),
        ({"request_id": "r", "action": "cancel", "decision": "deny"}, "exactly one of action and decision"),
        ({"request_id": "r", "action": "submit"}, "action 'submit' needs answers"),
        ({"request_id": "r", "action": "cancel", "answers": []}, "action 'cancel' takes no answers"),
    ],
)
def test_a_response_of_the_wrong_shape_is_refused(payload, says):
    with pytest.raises(ValueError, match=says):
        check_response(payload)

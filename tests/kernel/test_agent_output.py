"""`%%agent NAME --output FORM` in a real kernel: a form that a cell defines, and one that is not there."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.kernel]


def test_an_agent_answers_by_a_form_of_the_notebook(kernel):
    kernel.run("from typing import TypedDict\nclass Ticket(TypedDict):\n    kind: str\n    amount: int")
    script = "async def reply(turn):\n    return {'kind': 'order', 'amount': %s}"
    said = kernel.run(f"%%agent triage --output Ticket\n{script % 3}").text
    assert "agent triage answers by reply, as Ticket" in said
    ask = "print((await dn.runtime().client().run_turn(session_id='s', agent='triage', message='m'))['response_text'])"
    assert kernel.run(ask).text.strip() == '{"kind":"order","amount":3}'
    kernel.run("""%%agent triage --output Ticket\n""" + script % "'3'")
    assert "Expected `int`, got `str` - at `$.amount` (DN974)" in kernel.run(ask).error


def test_a_form_that_is_not_there_is_one_line(shared_kernel):
    said = shared_kernel.run("%%agent triage --output Nothing\nasync def reply(turn):\n    return {}").error
    assert "--output Nothing: there is no such name in the notebook, and no such file" in said

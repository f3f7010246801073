"""The state of a worker in a real kernel: seen, compared, gone back to."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

BRIDGE = """
%%worker bridge
@worker.on_startup
async def start(client):
    worker.state.update(count=0, users=[], api_key="sk-hidden")

@worker.on_event("demo.add")
async def on_add(event, client):
    worker.state["count"] += 1
    worker.state["users"].append(event.payload["name"])
    await client.publish("demo.added", {"count": worker.state["count"]})

@worker.on_event("demo.added")
async def on_added(event, client):
    worker.state["added"] = worker.state.get("added", 0) + 1
""".strip()

LIVE = "print(dn.worker('bridge').state)"


@pytest.fixture
def bridge(kernel):
    """A kernel with a worker that has handled two events, #2 and a later one."""
    assert kernel.run(BRIDGE, "c1").status == "ok"
    return kernel


def seq(answer) -> str:
    """Return the number of the event that a cell has fired, as `#12`."""
    return next(word for word in answer.text.split() if word.startswith("#")).rstrip(")")


def test_the_state_is_shown_as_a_tree(bridge):
    bridge.run("%fire demo.add name=ada")
    answer = bridge.run("%worker state bridge")
    assert "state of notebook:bridge, generation 1: 4 keys" in answer.text
    assert '  "users"  list  1 item' in answer.text
    assert '    [0]  str  "ada"' in answer.text
    assert '  "api_key"  str  ***' in answer.text
    assert "sk-hidden" not in answer.text
    html = (answer.result or answer.displays[-1])["text/html"]
    assert "<details open><summary><b>&quot;users&quot;</b>" in html
    assert "sk-hidden" not in html


def test_the_state_is_drawn_as_the_last_value_of_a_cell_and_other_dicts_are_not(bridge):
    drawn = bridge.run("dn.worker('bridge').state").result
    assert "state of notebook:bridge" in drawn["text/html"]
    assert '  "count"  int  0' in drawn["text/plain"]
    assert "sk-hidden" not in drawn["text/plain"]
    other = bridge.run("dict(dn.worker('bridge').state)").result
    assert "text/html" not in other
    assert bridge.run("type(dn.worker('bridge').state) is dict").result["text/plain"] == "True"


def test_a_hostile_value_in_the_state_stops_nothing(bridge):
    answer = bridge.run(
        "class Bad:\n    def __repr__(self):\n        while True: pass\n    __len__ = __reduce__ = __repr__\n"
        "dn.worker('bridge').state['bad'] = Bad()"
    )
    assert answer.status == "ok"
    assert '  "bad"  Bad' in bridge.run("%worker state bridge").text
    answer = bridge.run("%fire demo.add name=ada")
    assert 'state: count 0 -> 1, users + "ada"' in answer.text
    assert (
        "state: bad (Bad) cannot be pickled: it did not return within 1 s"
        in bridge.run("%worker logs bridge").text
    )
    assert (
        '"bad"'
        not in bridge.run(f"%worker state bridge --before {seq(answer)}").text.partition("not in it")[0]
    )


def test_a_trace_says_what_each_handler_has_changed_until_it_is_switched_off(bridge):
    answer = bridge.run("%fire demo.add name=ada")
    assert 'state: count 0 -> 1, users + "ada"' in answer.text
    assert "state: added = 1" in answer.text
    assert "is not noted any more" in bridge.run("%worker state bridge --changes off").text
    assert "state:" not in bridge.run("%fire demo.add name=bob").text
    assert "--changes on switches it on" in bridge.run("%worker state bridge").text
    bridge.run("%worker state bridge --changes on")
    assert 'state: count 2 -> 3, users + "eve"' in bridge.run("%fire demo.add name=eve").text


def test_an_event_runs_again_on_the_state_before_it_and_the_live_state_stays(bridge):
    first = seq(bridge.run("%fire demo.add name=ada"))
    bridge.run("%fire demo.add name=bob")
    live = bridge.run(LIVE).text
    changed = BRIDGE.replace('["count"] += 1', '["count"] += 10')
    assert "generation 2" in bridge.run(changed, "c1").text
    answer = bridge.run(f"%replay {first} --from-state")
    assert answer.status == "ok", answer.text
    assert f"(on the state before {first}; the state of bridge stays as it is)" in answer.text
    assert "(by the handlers of generation 2; it was generation 1)" in answer.text
    assert 'state: count 0 -> 10, users + "ada"' in answer.text
    assert "state: added = 1" in answer.text  # what it publishes is handled on that state, too
    assert bridge.run(LIVE).text == live
    edited = bridge.run(f"%replay {first} --from-state --edit name=eve")
    assert 'state: count 0 -> 10, users + "eve"' in edited.text
    assert bridge.run(LIVE).text == live


def test_an_event_that_was_replayed_on_a_fork_has_no_state_of_the_live_worker(bridge):
    first = seq(bridge.run("%fire demo.add name=ada"))
    again = bridge.run(f"%replay {first} --from-state")
    number = seq(again)
    answer = bridge.run(f"%worker state bridge --before {number}")
    assert answer.status == "error"
    assert f"no state of bridge before {number} is kept; there are those before {first}, #" in answer.error


def test_two_generations_are_compared_on_the_same_state(bridge):
    bridge.run("%fire demo.add name=ada")
    second = seq(bridge.run("%fire demo.add name=bob"))
    live = bridge.run(LIVE).text
    bridge.run(BRIDGE.replace('["count"] += 1', '["count"] += 10'), "c1")
    answer = bridge.run(f"%replay {second} --from-state --compare")
    assert answer.status == "ok", answer.text
    assert f"--- bridge, the generation before, on the state before {second}" in answer.text
    assert '- on_add publishes demo.added {"count": 2}' in answer.text
    assert '+ on_add publishes demo.added {"count": 11}' in answer.text
    assert "- count = 2" in answer.text
    assert "+ count = 11" in answer.text
    assert bridge.run(LIVE).text == live


def test_a_state_is_put_back_into_the_same_dict(bridge):
    first = seq(bridge.run("%fire demo.add name=ada"))
    bridge.run("%fire demo.add name=bob")
    bridge.run("alias = dn.worker('bridge').state")
    answer = bridge.run(f"%worker state bridge --restore {first}")
    assert f"the state of bridge is as it was before {first} demo.add: " in answer.text
    assert "count 2 -> 0" in answer.text
    assert 'users - "ada", - "bob"' in answer.text
    assert "added removed" in answer.text
    assert (
        bridge.run("alias is dn.worker('bridge').state, alias['count']").result["text/plain"] == "(True, 0)"
    )
    assert 'state: count 0 -> 1, users + "eve"' in bridge.run("%fire demo.add name=eve").text
    assert f"state: put back as it was before {first}" in bridge.run("%worker logs bridge").text


def test_a_state_is_not_put_back_under_a_handler_that_runs(bridge):
    first = seq(bridge.run("%fire demo.add name=ada"))
    bridge.run(
        "%%worker bridge\nimport asyncio\ngo = asyncio.Event()\n"
        "@worker.on_event('demo.slow')\nasync def on_slow(event, client):\n    await go.wait()",
        "c2",
    )
    bridge.run("from dnworker_jupyter.magics import state as s; s.IDLE_SECONDS = 0.1")
    bridge.run("%fire demo.slow --no-wait")
    answer = bridge.run(f"%worker state bridge --restore {first}")
    assert "bridge still runs on_slow (#" in answer.error
    assert "its state is not changed under it" in answer.error
    bridge.run("s.IDLE_SECONDS = 60; go.set()")
    assert "is as it was before" in bridge.run(f"%worker state bridge --restore {first}").text


def test_a_key_that_was_not_kept_is_named_and_the_live_one_may_stand_in(bridge):
    bridge.run("import threading; dn.worker('bridge').state['conn'] = threading.Lock()")
    first = seq(bridge.run("%fire demo.add name=ada"))
    refused = bridge.run(f"%replay {first} --from-state")
    assert refused.status == "error"
    assert f"the state before {first} is not whole: conn (lock) cannot be pickled: TypeError" in refused.error
    assert "add: --keep conn" in refused.error
    assert "add: --keep conn" in bridge.run(f"%worker state bridge --restore {first}").error
    answer = bridge.run(f"%replay {first} --from-state --keep conn")
    assert "(conn is the live one)" in answer.text
    assert 'state: count 0 -> 1, users + "ada"' in answer.text
    assert "count 1 -> 0" in bridge.run(f"%worker state bridge --restore {first} --keep conn").text


def test_which_states_are_kept_is_said_where_one_is_not(bridge):
    answer = bridge.run("%worker state bridge --before #999")
    assert (
        "no state of bridge before #999 is kept; one is kept before each event that a cell fires"
        in answer.error
    )
    first = seq(bridge.run("%fire demo.add name=ada"))
    answer = bridge.run("%worker state bridge --restore #999")
    assert f"no state of bridge before #999 is kept; there are those before {first}, #" in answer.error
    other = seq(bridge.run("%fire demo.nobody"))
    answer = bridge.run(f"%replay {other} --from-state")
    assert f"no state before {other} is kept; there are those before {first}" in answer.error
    answer = bridge.run("%replay last 2 --from-state")
    assert "--from-state takes one event, not 2" in answer.error


def test_of_two_workers_one_is_chosen(bridge):
    bridge.run(
        "%%worker beta\n@worker.on_event('demo.add')\nasync def h(event, client): worker.state['x'] = 1", "c9"
    )
    first = seq(bridge.run("%fire demo.add name=ada"))
    answer = bridge.run(f"%replay {first} --from-state")
    assert (
        f"bridge, beta have handled {first}, each on its own state; choose one: --worker bridge"
        in answer.error
    )
    answer = bridge.run(f"%replay {first} --from-state --worker beta")
    assert "state: x = 1" in answer.text
    assert "bridge" not in answer.text


def test_the_state_of_a_process_is_said_not_to_be_here(bridge):
    bridge.run("%worker topology bridge python")
    answer = bridge.run("%worker state bridge")
    assert "bridge runs as a subprocess (" in answer.error
    assert "its state is in that process" in answer.error
    assert "%worker topology bridge in-process" in answer.error


def test_after_a_restart_an_earlier_state_can_still_be_put_back(bridge):
    first = seq(bridge.run("%fire demo.add name=ada"))
    second = seq(bridge.run("%fire demo.add name=bob"))
    bridge.run("%worker restart bridge")
    assert "'count': 0" in bridge.run(LIVE).text
    assert "count 0 -> 1" in bridge.run(f"%worker state bridge --restore {second}").text
    bridge.run("%reset -f")
    bridge.run("%load_ext dnworker")
    assert "count 1 -> 0" in bridge.run(f"%worker state bridge --restore {first}").text


def test_objects_of_classes_of_cells_are_kept_by_value(bridge):
    cell = (
        "%%worker people\nclass Person:\n    def __init__(self, name): self.name = name\n"
        "@worker.on_event('demo.p')\nasync def on_p(event, client):\n"
        "    worker.state.setdefault('all', []).append(Person(event.payload['name']))\n"
        "    print(all(isinstance(p, Person) for p in worker.state['all']))"
    )
    bridge.run(cell, "c3")
    bridge.run("%fire demo.p name=ada")
    second = seq(bridge.run("%fire demo.p name=bob"))
    answer = bridge.run(f"%replay {second} --from-state")
    assert 'state: all + Person(name="bob")' in answer.text
    assert "| True" in answer.text


def test_the_doctor_shows_what_is_kept(bridge):
    bridge.run("%fire demo.add name=ada")
    text = bridge.run("%runtime doctor").text
    assert "2 of at most 200 kept from before events, 0.0 MB of 50.0 MB" in text


def test_options_of_the_state_stand_alone_and_with_it(bridge):
    assert "--before goes with: %worker state NAME" in bridge.run("%worker stop bridge --before #1").error
    assert "each stand alone" in bridge.run("%worker state bridge --before #1 --restore #1").error
    assert "--keep goes with --from-state" in bridge.run("%replay #1 --keep x").error
    assert "%worker state needs the worker's name" in bridge.run("%worker state").error


def test_unloaded_nothing_is_drawn_or_kept(bridge):
    bridge.run(
        "state = dn.worker('bridge').state; from dnworker_jupyter.notebook import active; w = active().states"
    )
    bridge.run("%fire demo.add name=ada")
    bridge.run("%unload_ext dnworker")
    assert "text/html" not in bridge.run("state").result
    assert bridge.run("len(w.snapshots)").result["text/plain"] == "0"

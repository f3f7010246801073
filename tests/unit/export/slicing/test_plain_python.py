"""Workers in plain Python become scripts as `%%worker` cells do."""

from __future__ import annotations

import pytest

from tests.unit.export.builders import plan, problems, script


def test_a_workers_file_pasted_into_a_cell_is_exported_as_it_is():
    text = script(
        """
        from dreadnode.capabilities.worker import Worker, EventEnvelope, RuntimeClient
        worker = Worker(name="bridge")

        @worker.on_event("a")
        async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
            worker.state["seen"] = event.payload["x"]

        if __name__ == "__main__":
            worker.run()
        """
    )
    assert text.count("worker.run()") == 1
    assert text.count("Worker(name=") == 1
    assert 'worker.state["seen"]' in text


def test_two_plain_workers_of_one_cell_become_two_scripts():
    files = plan(
        """
        import dnworker_jupyter as dn
        one, limit = dn, 3
        a = dn.worker("a")
        b = dn.worker("b", env={"LEVEL": "info"})

        @a.on_event("x")
        async def on_x(event, client): print(limit_of(a))

        @b.on_event("x")
        async def on_x2(event, client): print(b.state)

        def limit_of(worker): return 3
        """
    ).files
    assert "on_x2" not in files["workers/a.py"].decode()
    assert 'a = Worker(name="a")' in files["workers/a.py"].decode()
    assert "print(b.state)" in files["workers/b.py"].decode()
    assert "LEVEL: info" in files["capability.yaml"].decode()


def test_a_refusal_in_a_plain_cell_names_its_line():
    (problem,) = problems(
        "df = open(1)",
        "b = dn.worker('bridge')\n@b.on_event('a')\nasync def h(event, client):\n    print(df)",
    )
    assert "cell [2], line 4" in problem


def test_a_handle_keeps_its_name_and_shadows_stay_shadows():
    text = script(
        """
        w = dn.worker("bridge"); LIMIT = 5

        def bump():
            w.state["n"] = LIMIT

        @w.on_event("a")
        async def on_a(event, client):
            bump()
            print(sorted(event.payload, key=lambda w: len(w)))
        """
    )
    assert 'w = Worker(name="bridge")' in text
    assert "LIMIT = 5" in text
    assert "key=lambda w: len(w)" in text


def test_a_cell_that_makes_the_handle_may_have_run_after_those_that_use_it():
    text = script(
        "@bee.on_event('a')\nasync def on_a(event, client): print(bee.state)", "bee = dn.worker('bridge')"
    )
    assert "async def on_a" in text


@pytest.mark.parametrize(
    "line",
    [
        "bee.state['n'] = 5",
        "bee.on_event('c')(on_a)",
        "for kind in 'xy':\n    bee.on_event(kind)(on_a)",
        "if True:\n    @bee.every(minutes=1)\n    async def tick(client): pass",
        "def add(w, kind):\n    @w.on_event(kind)\n    async def h(event, client): pass\nadd(bee, 'z')",
    ],
)
def test_what_registers_or_fills_the_state_when_the_cell_runs_is_exported(line):
    text = script(
        f"bee = dn.worker('bridge')\n@bee.on_event('a')\nasync def on_a(event, client): pass\n{line}"
    )
    assert line.splitlines()[0] in text


def test_one_name_may_stand_for_two_workers_in_two_cells():
    pasted = "from dnworker import Worker\nworker = Worker(name='NAME')\n@worker.on_event('x')\nasync def h_NAME(event, client): pass\n"
    files = plan(pasted.replace("NAME", "one"), pasted.replace("NAME", "two")).files
    for name, other in (("one", "two"), ("two", "one")):
        text = files[f"workers/{name}.py"].decode()
        assert f"h_{name}" in text
        assert f"h_{other}" not in text


@pytest.mark.parametrize(
    "line",
    ["print(b.state)", "x = b.state.get('n')", "for b in range(3): print(b)", "rows = [b for b in range(3)]"],
)
def test_cells_that_only_look_at_a_handle_are_no_part_of_its_worker(line):
    text = script("b = dn.worker('bridge')\n@b.on_event('a')\nasync def on_a(event, client): pass", line)
    assert "async def on_a" in text


BRIDGE = """
%%worker bridge
@worker.on_event("a")
async def on_a(event, client): print("a")
"""

AFTER = """
scale = 3

@worker.on_event("b")
async def on_b(event, client): print(scale)
"""


def test_a_handler_of_worker_in_a_plain_cell_goes_to_the_worker_cell_that_ran_before():
    other = '%%worker other\n@worker.on_event("c")\nasync def on_c(event, client): print("c")'
    files = plan(other, BRIDGE, AFTER).files
    bridge = files["workers/bridge.py"].decode()
    assert "async def on_a" in bridge
    assert "scale = 3" in bridge
    assert '@worker.on_event("b")' in bridge
    assert bridge.count("Worker(name=") == 1
    assert "on_b" not in files["workers/other.py"].decode()


def test_a_worker_cell_that_ran_in_between_takes_the_name_worker():
    other = '%%worker other\n@worker.on_event("c")\nasync def on_c(event, client): print("c")'
    files = plan(BRIDGE, other, AFTER).files
    assert "on_b" in files["workers/other.py"].decode()
    assert "on_b" not in files["workers/bridge.py"].decode()


def test_a_handler_in_a_plain_cell_that_ran_is_found_among_those_that_run():
    registered = {"bridge": ["on_a", "on_b"]}
    assert "on_b" in script(BRIDGE, AFTER, registered=registered)


@pytest.mark.parametrize("binding", ["worker = made_elsewhere()", "for worker in (): pass"])
def test_a_name_worker_that_a_plain_cell_binds_anew_is_not_that_of_the_worker_cell(binding: str):
    assert "on_b" not in script(BRIDGE, binding, AFTER)
    assert "on_b" not in script(BRIDGE, f"{binding}\n{AFTER}")


def test_a_plain_cell_without_handlers_is_read_as_before_below_a_worker_cell():
    text = script(
        "if True:\n    limit = 3",
        BRIDGE.replace('print("a")', "print(limit, one)"),
        'if __name__ == "__main__":\n    one = 1',
    )
    assert "one = 1" in text

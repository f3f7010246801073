"""A plan is made again with more while its values differ; what no round mends is refused, what is none is not."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from dnworker_jupyter.export.planning.plan import Plan, Ran, plan_export
from dnworker_jupyter.export.proof import rounds
from dnworker_jupyter.export.proof.prove import Difference, Failure, Proof
from dnworker_jupyter.export.proof.rounds import Kernel, proved
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.syntax.cell import Cell
from tests.unit.export.builders import handler

UNSURE = ("import operator\nx = [1]\ny = operator.methodcaller('append', 2)(x)", "print(x)")


def maker(cell: str, body: str, made: list[Collection[str]] | None = None):
    cells = [Cell(1, cell), Cell(2, handler(body).strip("\n"))]

    def make_plan(suspects: Collection[str]) -> Plan:
        if made is not None:
            made.append(sorted(suspects))
        return plan_export(cells, default_name="demo", ran=Ran(cells, suspects))

    return make_plan


@pytest.fixture
def proofs(monkeypatch):
    """What the proofs of the rounds find, one after the other."""
    found: list[Proof] = []

    async def prove(*args, **options):
        return found.pop(0) if len(found) > 1 else found[0]

    monkeypatch.setattr(rounds, "prove", prove)
    return found


def kernel(*, has_run: bool = False) -> Kernel:
    return Kernel({}, {}, Path.cwd(), has_run)


def differs(name: str, aspect="value", here="1", there="2") -> Difference:
    return Difference("bridge", name, "", here, there, aspect)


async def test_a_proved_plan_is_made_once(proofs):
    proofs.append(Proof())
    made: list[Collection[str]] = []
    plan = await proved(maker(*UNSURE, made), kernel())
    assert (made, plan.notes) == ([[]], ())


async def test_a_name_that_differs_is_exported_with_what_may_have_changed_it(proofs):
    proofs += [Proof((differs("x"),)), Proof()]
    made: list[Collection[str]] = []
    plan = await proved(maker(*UNSURE, made), kernel())
    assert made == [[], ["x"]]
    assert b"methodcaller" in plan.files["workers/bridge.py"]


async def test_what_still_differs_is_refused_with_both_values_and_its_cell(proofs):
    proofs.append(Proof((differs("x"),)))
    with pytest.raises(NotExportable) as refused:
        await proved(maker("x = [1]", "print(x)"), kernel())
    (problem,) = refused.value.problems
    assert str(problem).startswith("cell [1], line 1: 'x': it is 1 in the notebook, and would be 2 in the")


async def test_a_value_that_differs_is_refused_also_where_annotations_differ_before_it(proofs):
    proofs.append(Proof((differs("C", "annotations"), differs("C", "subclasses"), differs("C"))))
    with pytest.raises(NotExportable, match="'C': it is 1"):
        await proved(maker("class C:\n    x = 1", "print(C)"), kernel())


async def test_annotations_and_subclasses_that_nobody_asks_for_are_no_reason(proofs):
    proofs.append(Proof((differs("C", "annotations"), differs("C", "subclasses"))))
    await proved(maker("class C:\n    x = 1", "print(C)"), kernel())


async def test_what_handlers_changed_since_is_no_reason_where_they_have_run(proofs):
    proofs.append(Proof((differs("x"),)))
    make_plan = maker("x = []", "x.append(1)")
    with pytest.raises(NotExportable):
        await proved(make_plan, kernel())
    plan = await proved(make_plan, kernel(has_run=True))
    assert plan.notes == ("handlers have changed since, and start with what the cells left: x",)


async def test_a_script_that_does_not_start_is_refused_with_the_statement_and_the_remedy_that_fits(proofs):
    line = 1 + maker("x = [1]", "print(x)")(()).files["workers/bridge.py"][:].split(b"x = [1]")[0].count(
        b"\n"
    )
    proofs.append(Proof(failures=(Failure("bridge", "workers/bridge.py", line, "network", "to a:80"),)))
    with pytest.raises(NotExportable) as refused:
        await proved(maker("x = [1]", "print(x)"), kernel())
    (problem,) = refused.value.problems
    assert (problem.name, problem.location) == ("`x = [1]`", "cell [1], line 1")
    assert "(to a:80)" in problem.why
    assert "on_startup" in problem.remedy


async def test_what_cannot_be_compared_is_told_a_few_names_at_most(proofs):
    proofs.append(Proof(uncompared=tuple(("bridge", f"n{n}", "a socket") for n in range(7))))
    plan = await proved(maker("x = [1]", "print(x)"), kernel())
    assert plan.notes == (
        "not compared with the notebook: " + ", ".join(f"n{n} (a socket)" for n in range(5)) + " and 2 more",
    )


async def test_no_message_has_a_secret_that_an_error_of_the_script_has(proofs):
    key = "sk-live-0123456789abcdef01234567"
    proofs.append(
        Proof(failures=(Failure("bridge", "workers/bridge.py", None, "error", f"KeyError: {key}"),))
    )
    with pytest.raises(NotExportable, match=r"KeyError: \(not shown\)") as refused:
        await proved(maker("x = [1]", "print(x)"), kernel())
    assert key not in str(refused.value)

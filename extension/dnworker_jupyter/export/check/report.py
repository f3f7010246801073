"""The report of a check: each thing checked, and whether it is right; used by check and export.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dnworker.core.errors import UsageError


@dataclass(frozen=True)
class CheckFinding:
    """One thing that was looked at; `details` say more where it is not as it should be."""

    ok: bool
    text: str
    details: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Return it as lines of text."""
        yield f"  {'+' if self.ok else 'x'} {self.text}"
        for detail in self.details:
            yield f"      {detail}"


@dataclass
class CheckReport:
    """All findings of a check, in the order in which they were made."""

    name: str
    findings: list[CheckFinding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return all(finding.ok for finding in self.findings)

    def note(self, ok: bool, text: str, details: Sequence[str] = (), *, first: bool = False) -> None:
        """Add a finding, before all others if it is to be read `first`."""
        self.findings.insert(0 if first else len(self.findings), CheckFinding(ok, text, tuple(details)))

    def __str__(self) -> str:
        wrong = sum(1 for finding in self.findings if not finding.ok)
        title = f"check of {self.name}: " + (f"{wrong} of {len(self.findings)} failed" if wrong else "passed")
        return "\n".join([title, *(line for finding in self.findings for line in finding.lines())])

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        found = [{"ok": f.ok, "text": f.text, "details": list(f.details)} for f in self.findings]
        return {"ok": self.ok, "capability": self.name, "findings": found}


class CheckFailed(UsageError):
    """The export does not do what the notebook does; `report` says where."""

    code = "DN508"

    def __init__(self, report: CheckReport) -> None:
        self.report = report
        super().__init__(f"{report}\nnothing was written")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "error": f"the check of {self.report.name} failed; nothing was written",
            **self.report.as_json(),
        }

"""What the command prints: a line for each module as it ends, then every difference with its reruns and its reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from outcomes import Difference, Run

COLUMNS = (("tests", 7), ("bare bad", 10), ("mon. bad", 10), ("differ", 8), ("unsteady", 10), ("sessions", 10))
TIMES = (("bare s", 9), ("mon. s", 9))
HEADER = "module".ljust(34) + "".join(name.rjust(width) for name, width in (*COLUMNS, *TIMES))
WHY_LINES = 12


@dataclass
class ModuleResult:
    """One module, run on both sides."""

    module: str
    bare: Run
    monitored: Run
    differences: list[Difference] = field(default_factory=list)
    is_baseline: bool = False

    @property
    def real(self) -> list[Difference]:
        return [one for one in self.differences if one.verdict == "differs"]

    @property
    def unsteady(self) -> list[Difference]:
        return [one for one in self.differences if one.verdict == "unsteady"]

    @property
    def had_no_monitor(self) -> bool:
        """The monitored run recorded nothing, so that its agreement proves nothing."""
        return not self.is_baseline and self.monitored.sessions == 0

    @property
    def failed(self) -> bool:
        return bool(self.real or self.had_no_monitor or self.monitored.internal_errors or not self.bare.outcomes)

    def row(self) -> str:
        bare, monitored = self.bare, self.monitored
        numbers = f"{len(bare.outcomes):7}{bare.bad:10}{monitored.bad:10}{len(self.real):8}{len(self.unsteady):10}"
        return f"{self.module:34}{numbers}{monitored.sessions:10}{bare.seconds:9.1f}{monitored.seconds:9.1f}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "failed": self.failed}


def details(result: ModuleResult) -> str:
    """Everything about one module that its row does not say."""
    lines = []
    if not result.bare.outcomes:
        lines.append(
            f"{result.module}: NO TEST RAN on the bare side ({result.bare.ending})\n{indented(result.bare.log)}"
        )
    if result.had_no_monitor:
        lines.append(f"{result.module}: NOT MONITORED: no session.start in the spool, so the comparison proves nothing")
    lines += [f"{result.module}: INTERNAL ERROR {line}" for line in result.monitored.internal_errors]
    lines += [described(one) for one in (*result.real, *result.unsteady)]
    return "\n".join(lines)


def described(one: Difference) -> str:
    mark = f"known: {one.known}" if one.known else one.verdict
    lines = [f"{one.test}: {one.bare.how} -> {one.monitored.how} [{mark}]"]
    if one.bare_alone:
        lines.append(f"    alone, bare: {', '.join(one.bare_alone)}; monitored: {', '.join(one.monitored_alone)}")
    return "\n".join([*lines, indented(one.monitored.why or one.bare.why)])


def indented(text: str) -> str:
    return "\n".join("    | " + line for line in text.rstrip().splitlines()[-WHY_LINES:])


def summary(results: list[ModuleResult], seconds: float) -> str:
    real = [one for result in results for one in result.real]
    parts = [
        f"{sum(len(result.bare.outcomes) for result in results)} tests in {len(results)} modules",
        f"{len(real)} differences ({sum(bool(one.known) for one in real)} known)",
        f"{sum(len(result.unsteady) for result in results)} unsteady",
        f"{sum(len(result.monitored.internal_errors) for result in results)} internal errors",
        f"{sum(result.had_no_monitor for result in results)} modules not monitored",
        f"{seconds:.0f} s",
    ]
    return ", ".join(parts)

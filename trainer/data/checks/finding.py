"""What a check works on, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import DataError
from fleet_contract.manifest import InputSchema
from trainer.data.duplicates import Pair
from trainer.data.scan import Seen

Severity = Literal["error", "warning", "note"]
"""error: training on it would go wrong or measure wrongly; warning: a person should look; note:
to know."""
_NAMED = 10


class Finding(BaseModel):
    """One thing that is wrong, with the files that show it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    severity: Severity
    check: str
    """Stable name of the check, such as `mask-size`."""
    what: str
    files: list[str]
    """The first ten: images as the source named them, or the class, part or quantity meant."""
    count: int
    """All of them."""
    remedy: str


class Findings(BaseModel):
    """What all checks say of one version, the worst first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    """Digest of the version."""
    line: str
    images: int
    parts: int
    findings: list[Finding]

    def of(self, severity: Severity) -> list[Finding]:
        """Those of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def refuse_errors(self) -> None:
        """Raises DataError that names every error; warnings and notes pass."""
        errors = self.of("error")
        if errors:
            raise DataError(
                f"data set {self.dataset[:12]} cannot be trained on: "
                + "; ".join(f"{e.what} ({', '.join(e.files[:3])})" for e in errors),
                remedy=f"{errors[0].remedy} `loupe-trainer validate {self.dataset[:12]}` says more.",
            )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checks look at; pure values, so that a check is a function."""

    version: DatasetVersion
    seen: Sequence[Seen]
    """In the order of the version's items."""
    schema: InputSchema
    pairs: Sequence[Pair]
    """Near-duplicates, by index of `seen`."""
    classes: frozenset[str] = frozenset()
    """Classes of defect that are to be there."""

    @property
    def readable(self) -> list[Seen]:
        """Those whose image can be decoded."""
        return [one for one in self.seen if not one.image.problem]


def name_of(item: DatasetItem) -> str:
    """How a person knows the image."""
    return item.source or item.sha256[:12]


def found(
    severity: Severity, check: str, what: str, files: Sequence[str], remedy: str
) -> list[Finding]:
    """One finding about `files`; none where there are none."""
    if not files:
        return []
    return [Finding(severity=severity, check=check, what=what, files=list(files[:_NAMED]),
                    count=len(files), remedy=remedy)]  # fmt: skip


def counted(count: int, one: str, many: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {one if count == 1 else many}"

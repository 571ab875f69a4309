"""What an update is about, as it is stored with the update."""

from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict

from edge_agent.update.plan import Order
from fleet_contract.messages import UpdateReport
from fleet_contract.names import UpdateState
from fleet_contract.trust.client import Agreed
from fleet_contract.trust.custom import Assignment, ImageCustom


class Target(BaseModel):
    """What both repositories agreed on, kept with the update so that it survives a restart."""

    model_config = ConfigDict(frozen=True)

    line: str
    digest: str
    length: int
    sha256: str
    assignment: Assignment
    image: ImageCustom

    @classmethod
    def of(cls, agreed: Agreed) -> Self:
        """The same, as a value that can be stored."""
        return cls(
            line=agreed.line,
            digest=agreed.digest,
            length=agreed.length,
            sha256=agreed.sha256,
            assignment=agreed.assignment,
            image=agreed.image,
        )

    @property
    def order(self) -> Order:
        """What the plan needs of it."""
        a = self.assignment
        return Order(self.digest, a.attempt, a.slot, a.rollout, a.share)


@dataclass(frozen=True, slots=True)
class Update:
    """The update under way on a line, or the last one."""

    target: Target
    state: UpdateState
    failure: str
    reason: str
    deaths: int

    def report(self) -> UpdateReport:
        """What is reported of it."""
        a = self.target.assignment
        return UpdateReport(
            state=self.state,
            digest=self.target.digest,
            rollout=a.rollout,
            attempt=a.attempt,
            share=a.share,
            failure=self.failure,
            reason=self.reason,
        )

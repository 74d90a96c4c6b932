"""A judge that is not us: libsepol's own access decision, through python3-selinux (selinux.audit2why)."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Optional

import pytest


class Judge:
    """Decides accesses between contexts on one binary policy, constraints and bounds included, at its own booleans."""

    def __init__(self, policy: Path) -> None:
        self.policy = policy
        self.library: Any = pytest.importorskip("selinux.audit2why")

    def __enter__(self) -> Judge:
        assert self.library.init(str(self.policy)) == 0, "libsepol cannot read the policy"
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.library.finish()

    def allows(self, source: str, target: str, tclass: str, perm: str) -> bool:
        """Whether libsepol allows one permission between two contexts. An error is none of both."""
        (answer, *_) = self.library.analyze(source, target, tclass, [perm])
        # Negative answers are errors: a context, class or permission that the policy does not know.
        assert answer >= 0, (source, target, tclass, perm, answer)
        return bool(answer == self.library.ALLOW)


def process(type_name: str, level: str = "s0:c1,c2") -> str:
    """The context of a container's process."""
    return f"system_u:system_r:{type_name}:{level}"


def thing(type_name: str, level: str = "s0") -> str:
    """The context of an object."""
    return f"system_u:object_r:{type_name}:{level}"

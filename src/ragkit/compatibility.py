"""Which versions of the protocols this ragkit speaks, and what to do about the others.

`ragkit.protocols.PROTOCOL_VERSION` is raised by a breaking change alone. Plugins written for the
version before go on working for one minor version, with a warning; the policy stands in
docs/protocols.md. Knows numbers, no plugin.
"""

from __future__ import annotations

from collections.abc import Mapping

from ragkit import protocols

STILL_READ: Mapping[int, str] = {}
"""Older versions whose plugins still work, to the release of ragkit that ends it: {1: "0.4"}."""


def refusal(written_for: int, who: str, distribution: str) -> str:
    """Why a record cannot be used, and what to upgrade; "" where it can."""
    if written_for == protocols.PROTOCOL_VERSION or written_for in STILL_READ:
        return ""
    what = "ragkit" if written_for > protocols.PROTOCOL_VERSION else distribution
    return (
        f"{who} was written for protocol {written_for}, and this ragkit has "
        f"{protocols.PROTOCOL_VERSION}: pip install --upgrade {what}"
    )


def warning(written_for: int, who: str, distribution: str) -> str:
    """What to say once a record for an older version is used; "" where there is nothing."""
    if written_for == protocols.PROTOCOL_VERSION or written_for not in STILL_READ:
        return ""
    return (
        f"{who} was written for protocol {written_for}, which ragkit {STILL_READ[written_for]} "
        f"will no longer read: pip install --upgrade {distribution}"
    )

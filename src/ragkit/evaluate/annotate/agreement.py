"""Krippendorff's alpha: how far several people agree beyond chance, with votes missing.

Nominal: two verdicts agree or they do not. With n_uc votes for verdict c on pair u, m_u votes
on it, and counting only pairs with two votes or more:

    observed disagreement  D_o = (1/n) Σ_u Σ_{c≠k} n_uc n_uk / (m_u − 1)
    expected disagreement  D_e = 1/(n (n−1)) Σ_{c≠k} n_c n_k
    alpha = 1 − D_o / D_e

with n_c the votes for c in all, n all votes (Krippendorff, Content Analysis, chapter on
reliability). 1 is perfect agreement, 0 what chance gives. Knows nothing of what is voted on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float:
    """Alpha of the votes on each unit, in any order.

    NaN where no unit has two votes, or all votes are the same: then there is no chance to
    compare with.

    >>> krippendorff_alpha([["a", "a"], ["b", "b"], ["a", "b"]])
    0.4444444444444444
    """
    counted = [Counter(votes) for votes in units if len(votes) > 1]
    totals = sum(counted, Counter[Hashable]())
    n = totals.total()
    # Σ_{c≠k} n_c n_k is (Σ n_c)² − Σ n_c².
    expected = n * n - sum(count * count for count in totals.values())
    if not expected:
        return math.nan
    observed = 0.0
    for votes in counted:
        m = votes.total()
        observed += (m * m - sum(count * count for count in votes.values())) / (m - 1)
    return 1.0 - observed * (n - 1) / expected

"""Intervals for shares of people, from the beta distribution alone: exact for counts, and no SciPy is needed.

A share of x of n people lies between the quantiles of Beta(x, n - x + 1) and Beta(x + 1, n - x) (Clopper and Pearson,
1934). If the k-th lowest of n scores is the threshold, the share of all people below it has the distribution
Beta(k, n + 1 - k), whatever the scores are distributed like (Wilks, 1941). Counts may be fractions: a person of four
pictures, one of them refused, counts as a quarter.
"""

import math
from functools import lru_cache

LEVEL = 0.95
"""Confidence of every interval."""
_TINY = 1e-300
_ENOUGH = 1e-14
_STEPS = 1000


def rate_interval(errors: float, people: float) -> tuple[float, float]:
    """Where the share of all people lies if `errors` of `people` had an error: (low, high), each in [0, 1].

    Args:
        errors: people with an error, 0 to `people`.
        people: people who were looked at, above 0.
    """
    tail = (1 - LEVEL) / 2
    low = 0.0 if errors <= 0 else beta_quantile(tail, errors, people - errors + 1)
    high = 1.0 if errors >= people else beta_quantile(1 - tail, errors + 1, people - errors)
    return low, high


@lru_cache(maxsize=1024)
def order_interval(rank: float, people: int) -> tuple[float, float]:
    """The shortest interval of the share of all people below the score of this rank: (low, high), each in [0, 1].

    It is the shortest one, and not the one with equal tails, so that it begins at 0 where nobody was refused.

    Args:
        rank: of the score, from the lowest, above 0: how many people have this score or a lower one.
        people: n, how many people the score was chosen among.
    """
    a, b = rank, people + 1 - rank
    if a <= 1:
        return 0.0, beta_quantile(LEVEL, a, b)

    def width(tail: float) -> float:
        return beta_quantile(tail + LEVEL, a, b) - beta_quantile(tail, a, b)

    low, high = 0.0, 1 - LEVEL
    for _ in range(30):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if width(left) < width(right) else (left, high)
    return beta_quantile(low, a, b), beta_quantile(low + LEVEL, a, b)


@lru_cache(maxsize=1024)
def further_interval(rank: float, people: int, further: int) -> tuple[int, int]:
    """Between how many and how many of some further people the threshold refuses, with at least 95 % probability.

    The beta-binomial distribution; the most probable counts are taken until they have the probability.

    Args:
        rank: as in `order_interval`.
        people: n, how many people the score was chosen among.
        further: how many other people are looked at.
    """
    a, b = rank, people + 1 - rank
    chances = [
        math.exp(
            math.lgamma(further + 1)
            - math.lgamma(count + 1)
            - math.lgamma(further - count + 1)
            + _log_beta(count + a, further - count + b)
            - _log_beta(a, b)
        )
        for count in range(further + 1)
    ]
    low = high = max(range(further + 1), key=chances.__getitem__)
    covered = chances[low]
    while covered < LEVEL and (low > 0 or high < further):
        below = chances[low - 1] if low > 0 else -1.0
        above = chances[high + 1] if high < further else -1.0
        if above >= below:
            high, covered = high + 1, covered + above
        else:
            low, covered = low - 1, covered + below
    return low, high


def people_for_share(share: float) -> int:
    """How many people it takes until a threshold can be found that refuses this share of all people, or fewer."""
    return math.ceil(1 / share - 1e-9) - 1


def people_for_claim(share: float) -> int:
    """How many people without an error it takes to say with 95 % confidence that at most this share have one."""
    return math.ceil(math.log(1 - LEVEL) / math.log(1 - share) - 1e-9)


@lru_cache(maxsize=65536)
def beta_quantile(share: float, a: float, b: float) -> float:
    """The x in [0, 1] with this share of Beta(a, b) below it; a and b above 0."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if beta_share(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_share(x: float, a: float, b: float) -> float:
    """The share of Beta(a, b) below x: the regularised incomplete beta function (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side only
        return 1 - beta_share(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) / a
    return front * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction, by the method of Lentz."""
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _off_zero(1 + term * d)
            c = _off_zero(1 + term / c)
            value *= d * c
        if abs(d * c - 1) < _ENOUGH:
            break
    return value


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

"""Comparisons: single values against the literature and other implementations, and verdicts."""

import math

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.evaluation import recorded  # noqa: E402
from tunebridge.errors import EvaluationError  # noqa: E402
from tunebridge.evaluation import statistics  # noqa: E402
from tunebridge.evaluation.statistics import proportions  # noqa: E402

Z = proportions.two_sided_z(0.95)


def pairs(gained: int, lost: int, rows: int) -> recorded.Scores:
    same = rows - gained - lost
    return [0.0] * gained + [1.0] * (lost + same), [1.0] * gained + [0.0] * lost + [1.0] * same


def test_tangos_interval_is_the_published_one() -> None:
    # Airway reactivity of 21 children, 1 against 7 discordant (Fagerland, Lydersen and Laake 2014)
    assert proportions.tango_interval(1, 7, 21, Z) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("gained", "lost", "rows"), [(12, 2, 50), (0, 1, 44), (40, 20, 160), (3, 3, 30)])
def test_tangos_bounds_are_roots_of_its_quartic(gained: int, lost: int, rows: int) -> None:
    # Closed form of Yang, Sun and Hardin (2013)
    g, d, m = Z * Z, gained - lost, gained + lost
    quartic = [
        rows**2 * (rows / g + 1) ** 2,
        -rows * d * (rows / g + 1) * (4 * rows / g + 1),
        2 * rows * d**2 * (3 * rows / g + 2) / g - rows**2 * (m / g + 1),
        rows * d * (2 * m / g + 1) - d**3 * (4 * rows / g + 1) / g,
        d**2 * (d**2 / g - m) / g,
    ]
    real = [root.real for root in np.roots(quartic) if abs(root.imag) < 1e-6]
    for bound in proportions.tango_interval(gained, lost, rows, Z):
        assert min(abs(bound - root) for root in real) < 1e-6


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_tangos_bounds_are_where_the_score_test_rejects(gained: int, lost: int, same: int) -> None:
    rows = gained + lost + same or 1
    low, high = proportions.tango_interval(gained, lost, rows, Z)
    assert -1 <= low <= (gained - lost) / rows <= high <= 1
    assert (low > 0 or high < 0) == (proportions.mcnemar(gained, lost) < 0.05)
    mirrored = proportions.tango_interval(lost, gained, rows, Z)
    assert (-high, -low) == pytest.approx(mirrored, abs=1e-12)


def test_exact_mcnemar_is_scipys_binomial_test() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    for gained, lost in [(0, 1), (5, 0), (9, 3), (30, 30), (400, 350), (0, 2000)]:
        theirs = scipy_stats.binomtest(gained, gained + lost).pvalue
        assert proportions.exact_mcnemar(gained, lost) == pytest.approx(theirs, rel=1e-9)
    assert proportions.exact_mcnemar(0, 0) == 1.0


def test_wilsons_interval_is_scipys() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    theirs = scipy_stats.binomtest(37, 50).proportion_ci(0.95, "wilson")
    assert statistics.interval([1.0] * 37 + [0.0] * 13, is_binary=True) == pytest.approx(tuple(theirs), abs=1e-6)


def test_the_bootstrap_agrees_with_students_interval_on_normal_scores() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    scores = np.random.default_rng(1).normal(0.5, 0.2, 200)
    error = scores.std(ddof=1) / math.sqrt(200)
    theirs = scipy_stats.t.interval(0.95, 199, scores.mean(), error)
    assert statistics.interval(scores.tolist()) == pytest.approx(theirs, abs=0.15 * error)


def test_resamples_are_those_of_plain_loops() -> None:
    from tunebridge.evaluation.statistics import bootstrap

    source = np.random.default_rng(2)
    totals, sizes = source.normal(size=40), source.integers(1, 5, 40).astype(float)
    _, _, rest = bootstrap._mean_and_error(totals, sizes)
    found = bootstrap._studentised(rest, sizes, resamples=30, seed=3)
    chosen = np.random.Generator(np.random.SFC64(3)).integers(0, 40, (30, 40))
    for line, value in zip(chosen, found, strict=True):
        mean, error, _ = bootstrap._mean_and_error(rest[line], sizes[line])
        assert value == pytest.approx(mean / error)


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (0.01, 0.2, 0.0, "better"),
        (0.01, 0.2, 0.02, "inconclusive"),
        (-0.2, -0.01, 0.0, "worse"),
        (-0.01, 0.01, 0.02, "equivalent"),
        (0.005, 0.015, 0.02, "equivalent"),
        (-0.01, 0.01, 0.0, "inconclusive"),
        (0.0, 0.1, 0.0, "inconclusive"),
    ],
)
def test_the_verdict_follows_from_the_interval(low: float, high: float, margin: float, verdict: str) -> None:
    from tunebridge.evaluation.statistics.difference import verdict_of

    assert verdict_of(low, high, margin) == verdict
    turned = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    assert verdict_of(low, high, margin, higher_is_better=False) == turned


def test_a_comparison_of_right_and_wrong_answers() -> None:
    found = statistics.compare(*pairs(30, 10, 200), is_binary=True, margin=0.0)
    assert (found.mean_base, found.mean_other, found.difference) == pytest.approx((0.85, 0.95, 0.1))
    assert found.verdict == "better"
    assert found.p_value == pytest.approx(0.00157, abs=1e-5)
    assert found.p_exact == pytest.approx(0.00222, abs=1e-5)
    assert (found.rows, found.rows_needed, found.reason) == (200, None, None)
    assert statistics.compare(*pairs(10, 30, 200), is_binary=True).verdict == "worse"


def test_fewer_than_thirty_rows_give_no_verdict() -> None:
    found = statistics.compare([0.0] * 29, [1.0] * 29, is_binary=True)
    assert (found.verdict, found.low > 0.5, found.rows_needed) == ("inconclusive", True, 30)
    assert found.reason == "There are 29 rows; below 30 no verdict is given."
    assert statistics.compare([0.0] * 30, [1.0] * 30, is_binary=True).verdict == "better"
    few_groups = statistics.compare([0.0] * 290, [1.0] * 290, is_binary=True, groups=[n // 10 for n in range(290)])
    assert (few_groups.verdict, few_groups.groups, few_groups.rows_needed) == ("inconclusive", 29, 300)


@pytest.mark.parametrize("is_binary", [True, False])
def test_equal_answers_are_equivalent_only_within_a_margin(is_binary: bool) -> None:
    scores = [1.0, 0.0] * 100
    found = statistics.compare(scores, scores, is_binary=is_binary, margin=0.05)
    assert (found.verdict, found.difference, found.p_value) == ("equivalent", 0.0, 1.0)
    assert found.low < 0 < found.high, "200 equal rows do not prove that all rows would be equal"
    without = statistics.compare(scores, scores, is_binary=is_binary)
    assert (without.verdict, without.rows_needed) == ("inconclusive", None)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_very_few_rows_still_have_an_interval(rows: int) -> None:
    found = statistics.compare([0.25] * rows, [0.75] * rows, is_binary=False)
    assert found.low < 0.5 < found.high
    assert found.verdict == "inconclusive"


SCORES = st.integers(0, 1_000).map(lambda n: n / 1_000)


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=60), st.integers(0, 5))
def test_any_scores_give_finite_intervals_that_agree_with_the_p_value(
    scores: list[tuple[float, float]], seed: int
) -> None:
    base, other = (list(column) for column in zip(*scores, strict=True))
    found = statistics.compare(base, other, is_binary=False, seed=seed, resamples=200)
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)
    assert found.low <= found.high
    if min(abs(found.low), abs(found.high)) > 1e-12:
        assert (found.low > 0 or found.high < 0) == (found.p_value <= 0.05)


def test_differences_that_only_rounding_tells_apart_are_equal() -> None:
    base = [n / 10 for n in range(8)] * 10
    found = statistics.compare(base, [score + 0.1 for score in base], is_binary=False)
    assert found.high - found.low > 0.005


def test_equal_seeds_give_equal_intervals() -> None:
    base, other = recorded.token_f1(100, 1)
    first, again, third = (statistics.compare(base, other, is_binary=False, seed=seed) for seed in (7, 7, 8))
    assert first == again != third
    assert first.low == pytest.approx(third.low, abs=0.005)


def test_the_memory_of_the_resamples_is_bounded() -> None:
    import tracemalloc

    scores = np.random.default_rng(1).random(10_000).tolist()
    tracemalloc.start()
    statistics.interval(scores, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6, "100 resamples at once would hold 8 MB of indices alone"


def test_more_than_fifty_thousand_rows_take_the_normal_interval() -> None:
    scores = np.random.default_rng(1).random(60_000)
    half = Z * scores.std(ddof=1) / math.sqrt(60_000)
    assert statistics.interval(scores.tolist()) == pytest.approx((scores.mean() - half, scores.mean() + half))


def test_rows_of_a_group_count_as_less_than_rows_alone() -> None:
    base, other, groups = recorded.conversations(300, 1)
    alone, grouped = (statistics.compare(base, other, is_binary=False, groups=keys) for keys in (None, groups))
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
    assert grouped.groups == len(set(groups))
    own_group = statistics.compare(base, other, is_binary=False, groups=list(range(300)))
    assert (own_group.low, own_group.high) == (alone.low, alone.high)


def test_lower_is_better_turns_the_verdict() -> None:
    found = statistics.compare([1.0] * 40, [0.5] * 40, is_binary=False, higher_is_better=False)
    assert (found.verdict, found.difference) == ("better", -0.5)


def test_holm_is_the_papers() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_what_does_not_hold_among_several_comparisons_is_inconclusive() -> None:
    sure = statistics.compare(*pairs(40, 5, 200), is_binary=True)
    barely = statistics.compare(*pairs(16, 6, 200), is_binary=True)
    assert (sure.verdict, barely.verdict) == ("better", "better")
    adjusted = statistics.adjust([barely, sure, barely])
    assert [d.verdict for d in adjusted] == ["inconclusive", "better", "inconclusive"]
    assert adjusted[0].p_adjusted == pytest.approx(2 * barely.p_value)
    assert adjusted[0].reason == "The difference does not hold after the correction for several comparisons."
    assert adjusted[1].reason is None
    assert 200 < (adjusted[0].rows_needed or 0) < 1_000
    assert statistics.adjust([barely])[0].verdict == "better", "one comparison needs no correction"


def test_the_half_width_is_what_the_interval_has() -> None:
    # 20 % of rows differ: 8.8 points at 100 rows, 3.9 at 500, 2.8 at 1,000
    expected = [statistics.expected_half_width(rows, True) for rows in (100, 500, 1_000)]
    assert expected == pytest.approx([0.0877, 0.0392, 0.0277], abs=1e-4)
    found = statistics.compare(*pairs(50, 50, 500), is_binary=True)
    assert (found.high - found.low) / 2 == pytest.approx(expected[1], rel=0.02)


def test_rows_needed_is_the_textbooks_formula() -> None:
    # (1.960 * sqrt(0.3) + 0.842 * sqrt(0.3 - 0.01))^2 / 0.01, and ((1.960 + 0.842) * 0.35 / 0.1)^2
    assert statistics.rows_needed(0.1, True, discordance=0.3) == 234
    assert statistics.rows_needed(0.1, False, deviation=0.35) == 97
    assert statistics.rows_needed(0.9, True) == statistics.MIN_ROWS


@pytest.mark.parametrize(
    ("base", "other", "words"),
    [([], [], "0 and 0 scores"), ([1.0], [1.0, 0.0], "1 and 2 scores"), ([0.5], [1.0], "is_binary=False")],
)
def test_scores_that_cannot_be_compared(base: list[float], other: list[float], words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        statistics.compare(base, other, is_binary=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"confidnce": 0.9}, "Did you mean 'confidence'"),
        ({"confidence": 95}, "from 0.5 to below 1"),
        ({"resamples": 10}, "at least 100"),
        ({"margin": -0.1}, "0 or more"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, float], words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        statistics.compare([0.0, 1.0], [1.0, 1.0], is_binary=True, **settings)


def test_plans_that_make_no_sense() -> None:
    with pytest.raises(EvaluationError, match="effect of 0"):
        statistics.rows_needed(0.0, True)
    with pytest.raises(EvaluationError, match="no rows"):
        statistics.expected_half_width(0, True)


def test_columns_of_numpy_are_scores_too() -> None:
    base, other = recorded.binary(0.7, 100, 1)
    assert statistics.compare(np.array(base), np.array(other), is_binary=True) == statistics.compare(
        base, other, is_binary=True
    )


def test_groups_need_a_key_per_row() -> None:
    with pytest.raises(EvaluationError, match="one key per row"):
        statistics.compare([0.5, 0.1], [1.0, 0.2], is_binary=False, groups=["a"])

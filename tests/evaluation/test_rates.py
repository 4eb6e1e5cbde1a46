"""How often verdicts are wrong: simulations of two runs of one model, of known effects and of intervals."""

import math
from collections.abc import Callable

import pytest

np = pytest.importorskip("numpy")

from tests.evaluation import recorded  # noqa: E402
from tunebridge.evaluation import metrics, statistics  # noqa: E402
from tunebridge.evaluation.statistics import proportions  # noqa: E402

SEEDS = 400


def declared(draw: Callable[..., recorded.Scores], seeds: int, *, is_binary: bool, resamples: int = 10_000) -> float:
    """Return the share of seeds at which two runs of one model are called better or worse."""
    found = [statistics.compare(*draw(seed=s), is_binary=is_binary, seed=s, resamples=resamples) for s in range(seeds)]
    assert {d.verdict for d in found} <= {"better", "worse", "inconclusive"}
    assert all((d.low > 0 or d.high < 0) == (d.p_value <= 0.05) for d in found)
    return sum(d.verdict != "inconclusive" for d in found) / seeds


def exact_rate(rows: int, discordance: float, p_value: Callable[[int, int], float]) -> float:
    """Return the exact probability that two equal models are told apart, over all numbers of discordant rows."""
    total = 0.0
    for differing in range(rows + 1):
        chance = math.comb(rows, differing) * discordance**differing * (1 - discordance) ** (rows - differing)
        if chance > 1e-9:
            rejected = [g for g in range(differing + 1) if p_value(g, differing - g) <= 0.05]
            total += chance * sum(math.comb(differing, g) for g in rejected) / 2**differing
    return total


@pytest.mark.parametrize(("rows", "discordance"), [(50, 0.1), (100, 0.05), (100, 0.3), (500, 0.05)])
def test_the_score_test_errs_in_five_percent_and_the_exact_test_in_less(rows: int, discordance: float) -> None:
    assert 0.04 < exact_rate(rows, discordance, proportions.mcnemar) < 0.055
    assert exact_rate(rows, discordance, proportions.exact_mcnemar) < 0.035


@pytest.mark.parametrize("accuracy", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("rows", [100, 500])
def test_two_runs_of_one_model_differ_in_five_percent(accuracy: float, rows: int) -> None:
    assert 0.03 <= declared(lambda seed: recorded.binary(accuracy, rows, seed), SEEDS, is_binary=True) <= 0.07


@pytest.mark.parametrize("name", recorded.CONTINUOUS)
def test_two_runs_of_one_model_seldom_differ_in_continuous_scores(name: str) -> None:
    draw = recorded.CONTINUOUS[name]
    rate = declared(lambda seed: draw(100, seed), 100, is_binary=False, resamples=1_000)
    assert rate <= 0.1  # 3 to 7 % of 400 seeds is the slow test's


def test_a_planned_effect_is_found_in_binary_scores() -> None:
    gain = 0.08
    pilot = [recorded.binary(0.7, 5_000, seed, gain=gain) for seed in range(3)]
    discordance = float(np.mean([np.mean(np.not_equal(*scores)) for scores in pilot]))
    rows = statistics.rows_needed(gain, True, discordance=discordance)
    found = [statistics.compare(*recorded.binary(0.7, rows, s, gain=gain), is_binary=True) for s in range(SEEDS)]
    power = sum(d.verdict == "better" for d in found) / SEEDS
    assert 0.74 <= power <= 0.86


@pytest.mark.slow
@pytest.mark.parametrize("name", recorded.CONTINUOUS)
@pytest.mark.parametrize("rows", [100, 300])
def test_two_runs_of_one_model_differ_in_five_percent_of_continuous_scores(name: str, rows: int) -> None:
    rate = declared(lambda seed: recorded.CONTINUOUS[name](rows, seed), SEEDS, is_binary=False)
    assert 0.03 <= rate <= 0.07


@pytest.mark.slow
def test_a_planned_effect_is_found_in_continuous_scores() -> None:
    gain = 0.05
    base, other = recorded.token_f1(5_000, 0, gain=gain)
    rows = statistics.rows_needed(gain, False, deviation=float(np.std(np.subtract(other, base))))
    found = [
        statistics.compare(*recorded.token_f1(rows, s, gain=gain), is_binary=False, resamples=2_000)
        for s in range(1, SEEDS + 1)
    ]
    assert 0.74 <= sum(d.verdict == "better" for d in found) / SEEDS <= 0.86


@pytest.mark.slow
def test_an_inconclusive_comparison_needs_the_rows_that_it_says() -> None:
    seen = statistics.compare(*recorded.binary(0.7, 150, 3, gain=0.05), is_binary=True)
    assert seen.verdict == "inconclusive"
    assert seen.rows_needed
    gain = abs(seen.difference)
    found = [
        statistics.compare(*recorded.binary(0.7, seen.rows_needed, s, gain=gain), is_binary=True) for s in range(SEEDS)
    ]
    assert 0.7 <= sum(d.verdict == "better" for d in found) / SEEDS <= 0.9


def covered(intervals: list[tuple[float, float]], truth: float) -> float:
    return sum(low <= truth <= high for low, high in intervals) / len(intervals)


@pytest.mark.slow
@pytest.mark.parametrize("name", recorded.CONTINUOUS)
@pytest.mark.parametrize("rows", [50, 200])
def test_intervals_of_continuous_differences_cover_the_truth(name: str, rows: int) -> None:
    draw, gain = recorded.CONTINUOUS[name], 0.1
    found = [
        statistics.compare(*draw(rows, s, gain=gain), is_binary=False, seed=s, resamples=2_000) for s in range(1_000)
    ]
    assert 0.93 <= covered([(d.low, d.high) for d in found], gain) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("rows", [50, 200])
@pytest.mark.parametrize("gain", [0.0, 0.1])
def test_intervals_of_binary_differences_cover_the_truth(rows: int, gain: float) -> None:
    base, other = recorded.binary(0.7, 400_000, 1, gain=gain)
    truth = float(np.mean(other) - np.mean(base))
    found = [statistics.compare(*recorded.binary(0.7, rows, s, gain=gain), is_binary=True) for s in range(2, 2_002)]
    assert 0.93 <= covered([(d.low, d.high) for d in found], truth) <= 0.97


@pytest.mark.slow
def test_intervals_of_grouped_rows_cover_the_truth_where_rows_alone_would_not() -> None:
    def run(seed: int, *, is_grouped: bool) -> tuple[float, float]:
        base, other, groups = recorded.conversations(300, seed)
        keys = groups if is_grouped else None
        found = statistics.compare(base, other, is_binary=False, groups=keys, seed=seed, resamples=2_000)
        return found.low, found.high

    assert 0.93 <= covered([run(s, is_grouped=True) for s in range(1_000)], 0.0) <= 0.97
    assert covered([run(s, is_grouped=False) for s in range(200)], 0.0) < 0.8


@pytest.mark.slow
def test_intervals_of_macro_f1_differences_cover_the_truth() -> None:
    metric, labels = metrics.metric("macro_f1"), "abcd"

    def run(rows: int, seed: int) -> tuple[float, float]:
        source = np.random.default_rng(seed)
        truth = source.choice(list(labels), rows, p=[0.5, 0.3, 0.15, 0.05])
        asked = [metrics.MetricRow(str(label)) for label in truth]
        scores = []
        for accuracy in (0.6, 0.75):
            guessed = source.choice(list(labels), rows)
            answers = np.where(source.random(rows) < accuracy, truth, guessed)
            scores.append(metric.contributions([str(answer) for answer in answers], asked))
        found = statistics.compare(scores[0], scores[1], is_binary=False, seed=seed, resamples=2_000)
        return (found.low, found.high) if rows < 100_000 else (found.difference, found.difference)

    truth, _ = run(100_000, 0)
    assert 0.93 <= covered([run(200, seed) for seed in range(1, 501)], truth) <= 0.97

"""Reference values for `src/client/stats/tests/reference.rs`, by numpy and scipy.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1
    venv/bin/python tests/statistics/reference.py      # writes reference.json beside itself
"""

import json
import math
import pathlib

import numpy as np
import scipy
from scipy import stats

rng = np.random.default_rng(7)


# --- one histogram -----------------------------------------------------------------------------------------
def latencies(seed, count, base, scale):
    """Made by integers alone, so that the Rust test makes the same ones: a floor and a long tail."""
    state, values = seed, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64  # SplitMix64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        uniform = (z ^ (z >> 31)) >> 32
        values.append(base + scale * 2**16 // ((uniform >> 16) + 1))
    return np.array(values)


def nearest_rank(values, quantile):
    return int(np.quantile(values, quantile, method="inverted_cdf"))


def summary(seed, count, base, scale):
    values = latencies(seed, count, base, scale)
    quantiles = {}
    for name, quantile in {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}.items():
        beyond = count - math.ceil(round(quantile * count, 6))
        quantiles[name] = nearest_rank(values, quantile) if beyond >= 10 else None
    q1, q3 = nearest_rank(values, 0.25), nearest_rank(values, 0.75)
    severe = int((values > q3 + 3 * (q3 - q1)).sum())
    return {
        "seed": seed, "count": count, "base": base, "scale": scale,
        "min": int(values.min()), **quantiles, "max": int(values.max()), "mean": float(values.mean()),
        "mild": int((values > q3 + 1.5 * (q3 - q1)).sum()) - severe, "severe": severe,
    }


# --- trials ------------------------------------------------------------------------------------------------
def log_t(values):
    ends = stats.ttest_1samp(np.log(values), 0).confidence_interval(0.95)
    return float(np.exp(ends.low)), float(np.exp(ends.high))


def interpolated_order_statistics(values):
    """The coverage of the interval of depth d, made a smooth function of d as Hettmansperger & Sheather do."""
    x, n = np.sort(values), len(values)
    coverage = np.array([1 - 2 * stats.binom.cdf(d - 1, n, 0.5) for d in range(1, n // 2 + 1)])
    d = int(np.flatnonzero(coverage >= 0.95).max()) + 1
    next_coverage = coverage[d] if d < len(coverage) else 0.0
    i = (coverage[d - 1] - 0.95) / (coverage[d - 1] - next_coverage)
    w = (n - d) * i / (d + (n - 2 * d) * i)
    return float((1 - w) * x[d - 1] + w * x[d]), float((1 - w) * x[n - d] + w * x[n - d - 1])


def interval(values):
    low, high = log_t(values) if len(values) < 6 else interpolated_order_statistics(values)
    # Order statistics alone cover at least 95 %, so they must enclose the interpolated ones.
    outer = stats.quantile_test(values, q=np.median(values), p=0.5).confidence_interval(0.95)
    return {
        "values": values.tolist(), "median": float(np.median(values)), "low": low, "high": high,
        "outer": None if len(values) < 6 else [float(outer.low), float(outer.high)],
        "spread": float(np.ptp(values) / np.median(values)),
    }


def groups(a, b):
    """The Mann-Whitney test, turned round by asking it: which changes does it not reject?"""
    ratios = np.sort(np.divide.outer(b, a).ravel())
    if 2 / math.comb(len(a) + len(b), len(a)) > 0.05:
        ends = stats.ttest_ind(np.log(b), np.log(a), equal_var=True).confidence_interval(0.95)
        low, high = float(np.exp(ends.low)), float(np.exp(ends.high))
    else:
        method = "exact" if len(a) * len(b) <= 900 else "asymptotic"
        between = np.sqrt(ratios[1:] * ratios[:-1])
        kept = [stats.mannwhitneyu(b / change, a, method=method).pvalue > 0.05 for change in between]
        at = np.flatnonzero(kept)
        low, high = float(ratios[at[0]]), float(ratios[at[-1] + 1])
    return {"a": a.tolist(), "b": b.tolist(), "change": float(np.median(ratios)) - 1, "low": low - 1, "high": high - 1}


def drift(*trials):
    scores, variances, slopes = [], [], []
    for series in trials:
        parts = min(8, len(series))
        series = np.array([series[i * len(series) // parts : (i + 1) * len(series) // parts].mean() for i in range(parts)])
        time, n = np.arange(parts), parts
        tau = stats.kendalltau(time, series, method="asymptotic")
        score = sum(np.sign(series[j] - series[i]) for i in range(n) for j in range(i + 1, n))
        # scipy corrects for ties, not for continuity: take its standard deviation and use it again.
        ties = sum(t * (t - 1) * (2 * t + 5) for t in np.unique(series, return_counts=True)[1])
        by_formula = (n * (n - 1) * (2 * n + 5) - ties) / 18
        variances.append((score / stats.norm.isf(tau.pvalue / 2)) ** 2 if score else by_formula)
        scores.append(score)
        slopes.append(stats.theilslopes(series, time).slope * (n - 1) / np.median(series))
    seen = len(trials) * np.var(scores, ddof=1) if len(trials) > 1 else 0
    deviation = math.sqrt(max(sum(variances), seen))
    return {
        "series": [series.tolist() for series in trials],
        "slope_fraction": float(np.median(slopes)),
        "p_value": float(2 * stats.norm.sf((abs(sum(scores)) - 1) / deviation)),
    }


def trials(n, sigma=0.1):
    return np.round(1000 * np.exp(sigma * rng.standard_normal(n)), 3)


def main():
    t = np.linspace(0, 1, 24)
    document = {
        "made_by": "python tests/statistics/reference.py",
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "summaries": [
            # Below 2048, where a histogram of three digits is exact.
            summary(seed=1, count=30, base=100, scale=10),
            summary(seed=2, count=999, base=300, scale=1),
            summary(seed=3, count=2_000, base=400, scale=1),
            # Picoseconds: one bucket holds many values.
            summary(seed=4, count=20_000, base=5_000_000, scale=400_000),
            summary(seed=5, count=120_000, base=180_000, scale=90_000),
        ],
        "intervals": [interval(trials(n)) for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 40)]
        + [interval(np.array([100.0, 101, 101, 102, 99, 100, 400, 100.5]))],
        "groups": [groups(trials(n), 1.05 * trials(m)) for n, m in ((2, 2), (3, 4), (4, 4), (5, 5), (7, 5), (10, 10), (3, 40))]
        + [groups(trials(35), trials(33))],
        "drifts": [
            drift(*series)
            for series in (
                [trials(6)],
                [trials(12)],
                [np.round(1000 + 200 * t + 30 * rng.standard_normal(24), 3)],
                [np.round(level - 200 * (1 - np.exp(-5 * t)) + 30 * rng.standard_normal(24), 3) for level in (1000, 1300, 800)],
                [np.round(1000 + 30 * rng.standard_normal(48).cumsum(), 3) for _ in range(5)],
                # Ties.
                [np.round(20 + 3 * t[:8] + rng.standard_normal(8)) for _ in range(2)],
                [np.arange(100.0, 110.0)],
            )
        ],
    }
    # One line each case: a difference names its case.
    lines = []
    for key, value in document.items():
        if isinstance(value, list):
            cases = ",\n".join("    " + json.dumps(case) for case in value)
            lines.append(f"  {json.dumps(key)}: [\n{cases}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

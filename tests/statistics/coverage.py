"""How often the intervals and tests of `src/client/stats/` are right, and their rivals.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1
    venv/bin/python tests/statistics/coverage.py > tests/statistics/coverage.txt      # 5 minutes

Independent of the Rust code: written again in numpy, from the same papers. The figures chose the methods.
"""

import itertools
import math

import numpy as np
import scipy
from scipy import stats

SEED = 20240501
rng = np.random.default_rng(SEED)

# How trial medians may be distributed, around 1.
SHAPES = {
    "normal": lambda size: 1 + 0.03 * rng.standard_normal(size),
    "lognormal": lambda size: np.exp(0.3 * rng.standard_normal(size)),
    "exponential": lambda size: 1 + 0.1 * rng.exponential(size=size),
    "two modes": lambda size: np.where(rng.random(size) < 0.2, 1.3, 1.0) + 0.02 * rng.standard_normal(size),
    "long tails": lambda size: np.maximum(1 + 0.02 * rng.standard_t(3, size=size), 1e-3),
}
TRUE_MEDIAN = {"normal": 1.0, "lognormal": 1.0, "exponential": 1 + 0.1 * math.log(2), "long tails": 1.0}
TRUE_MEAN = {"normal": 1.0, "lognormal": math.exp(0.045), "exponential": 1.1, "two modes": 1.06, "long tails": 1.0}
# 0.8 F(m) + 0.2 F(m - 0.3) = 1/2: the second mode is too far away to count.
TRUE_MEDIAN["two modes"] = 1 + 0.02 * stats.norm.ppf(0.5 / 0.8)


# --- intervals of the median trial -------------------------------------------------------------------------
def order_statistics(x, interpolate):
    n = x.shape[1]
    x = np.sort(x, axis=1)
    coverage = lambda d: 1 - 2 * stats.binom.cdf(d - 1, n, 0.5)
    d = 1
    while coverage(d + 1) >= 0.95:
        d += 1
    if not interpolate or coverage(d) < 0.95:
        return x[:, d - 1], x[:, n - d]
    excess = (coverage(d) - 0.95) / (coverage(d) - coverage(d + 1))
    w = (n - d) * excess / (d + (n - 2 * d) * excess)
    return (1 - w) * x[:, d - 1] + w * x[:, d], (1 - w) * x[:, n - d] + w * x[:, n - d - 1]


def student(x):
    n = x.shape[1]
    reach = stats.t.ppf(0.975, n - 1) * x.std(axis=1, ddof=1) / math.sqrt(n)
    return x.mean(axis=1) - reach, x.mean(axis=1) + reach


def log_student(x):
    low, high = student(np.log(x))
    return np.exp(low), np.exp(high)


def resamples(n):
    """All resamples with their weights for small n, else 1000 drawn ones."""
    if n > 6:
        return rng.integers(0, n, (1000, n)), np.full(1000, 1e-3)
    index = np.array(list(itertools.combinations_with_replacement(range(n), n)))
    ways = [math.factorial(n) / math.prod(map(math.factorial, np.bincount(i).tolist())) for i in index]
    return index, np.array(ways) / n**n


def weighted_quantile(values, weights, q):
    order = np.argsort(values, axis=1)
    below = np.cumsum(weights[order], axis=1) < np.reshape(q, (-1, 1)) - 1e-12
    at = np.minimum(below.sum(axis=1), values.shape[1] - 1)
    return np.take_along_axis(values, order, axis=1)[np.arange(len(values)), at]


def bootstrap(x, statistic, kind):
    n = x.shape[1]
    index, weights = resamples(n)
    sample = x[:, index]
    boot = statistic(sample, axis=2)
    low, high = np.full(len(x), 0.025), np.full(len(x), 0.975)
    if kind == "expanded":  # Hesterberg 2015
        low[:] = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
        high = 1 - low
    elif kind == "bca":  # Efron 1987
        seen = statistic(x, axis=1)[:, None]
        below = (weights * ((boot < seen - 1e-12) + 0.5 * (abs(boot - seen) <= 1e-12))).sum(axis=1)
        z0 = stats.norm.ppf(np.clip(below, 1e-6, 1 - 1e-6))
        left_out = np.stack([statistic(np.delete(x, i, axis=1), axis=1) for i in range(n)], axis=1)
        d = left_out.mean(axis=1, keepdims=True) - left_out
        a = (d**3).sum(axis=1) / (6 * (d**2).sum(axis=1) ** 1.5)
        low, high = (stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in (-1.96, 1.96))
    elif kind == "studentized":
        spread = sample.std(axis=2, ddof=1) / math.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.nan_to_num((boot - x.mean(axis=1, keepdims=True)) / spread, nan=0.0)
        own = x.std(axis=1, ddof=1) / math.sqrt(n)
        ends = weighted_quantile(t, weights, high), weighted_quantile(t, weights, low)
        return x.mean(axis=1) - ends[0] * own, x.mean(axis=1) - ends[1] * own
    return weighted_quantile(boot, weights, low), weighted_quantile(boot, weights, high)


def chosen(x):
    return log_student(x) if x.shape[1] < 6 else order_statistics(x, True)


def intervals():
    print("1. Coverage in percent (half-width in percent of the center) of 95 % intervals over n trials.")
    print("   'median' and 'mean' say which of the two, of all trials there could be, has to be in it.\n")
    methods = [
        ("CHOSEN: median", TRUE_MEDIAN, chosen),
        ("order statistics: median", TRUE_MEDIAN, lambda x: order_statistics(x, False)),
        ("log t: median", TRUE_MEDIAN, log_student),
        ("percentile bootstrap: median", TRUE_MEDIAN, lambda x: bootstrap(x, np.median, "percentile")),
        ("expanded bootstrap: median", TRUE_MEDIAN, lambda x: bootstrap(x, np.median, "expanded")),
        ("t: mean", TRUE_MEAN, student),
        ("percentile bootstrap: mean", TRUE_MEAN, lambda x: bootstrap(x, np.mean, "percentile")),
        ("expanded bootstrap: mean", TRUE_MEAN, lambda x: bootstrap(x, np.mean, "expanded")),
        ("BCa bootstrap: mean", TRUE_MEAN, lambda x: bootstrap(x, np.mean, "bca")),
        ("studentized bootstrap: mean", TRUE_MEAN, lambda x: bootstrap(x, np.mean, "studentized")),
    ]
    for n in (2, 3, 4, 5, 6, 7, 8, 10, 15, 30):
        print(f"n = {n:<27}" + "".join(f"{name:>17}" for name in SHAPES))
        samples = {name: [shape((500, n)) for _ in range(10)] for name, shape in SHAPES.items()}
        for label, truth, method in methods:
            if (n == 2 and "BCa" in label) or (n < 5 and "studentized" in label):
                continue
            cells = []
            for name, parts in samples.items():
                ends = [method(x) for x in parts]
                low, high = (np.concatenate([pair[i] for pair in ends]) for i in (0, 1))
                hit = np.mean((low <= truth[name]) & (truth[name] <= high))
                width = np.median(high - low) / 2 / truth[name]
                cells.append(f"{hit * 100:7.1f} ({width * 100:6.1f})")
            print(f"{label:<31}" + "".join(f"{cell:>17}" for cell in cells))
        print()


# --- two groups --------------------------------------------------------------------------------------------
def mann_whitney_depth(n):
    ways = np.zeros((n + 1, n * n + 1))
    ways[0, 0] = 1
    for rank in range(2 * n):
        for k in range(min(n, rank + 1), 0, -1):
            beaten = rank + 1 - k
            if beaten <= n * n:
                ways[k, beaten:] += ways[k - 1, : n * n + 1 - beaten]
    return int((np.cumsum(ways[n]) / ways[n].sum() <= 0.025).sum())


def hodges_lehmann(a, b):
    n = a.shape[1]
    depth = mann_whitney_depth(n)
    if depth == 0:
        return pooled_log_student(a, b)
    ratios = np.sort((b[:, :, None] / a[:, None, :]).reshape(len(a), -1), axis=1)
    return ratios[:, depth - 1], ratios[:, -depth]


def pooled_log_student(a, b):
    n, a, b = a.shape[1], np.log(a), np.log(b)
    variance = (a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / n
    reach = stats.t.ppf(0.975, 2 * n - 2) * np.sqrt(variance)
    middle = b.mean(axis=1) - a.mean(axis=1)
    return np.exp(middle - reach), np.exp(middle + reach)


def bootstrap_groups(a, b):
    n = a.shape[1]
    draw = lambda x: np.median(np.take_along_axis(x[:, None, :], rng.integers(0, n, (len(x), 1000, n)), 2), axis=2)
    ratio = np.sort(draw(b) / draw(a), axis=1)
    return ratio[:, 24], ratio[:, 974]


def bootstrap_pairs(a, b):
    n = a.shape[1]
    index = rng.integers(0, n, (len(a), 1000, n))
    draw = lambda x: np.median(np.take_along_axis(x[:, None, :], index, 2), axis=2)
    ratio = np.sort(draw(b) / draw(a), axis=1)
    return ratio[:, 24], ratio[:, 974]


def groups():
    print("2. How often, in percent, n trials of B against n of A are said to differ:")
    print("   when nothing differs (should be 5 or less) / when B is 10 % slower (should be 100).\n")
    for title, shared, methods in (
        ("no partners", 0.0, {
            "CHOSEN: Hodges-Lehmann": hodges_lehmann,
            "pooled log t": pooled_log_student,
            "percentile bootstrap": bootstrap_groups}),
        ("pairs, the host wanders by 5 % from one to the next", 0.05, {
            "CHOSEN: interval of the ratios": lambda a, b: chosen(b / a),
            "log t of the ratios": lambda a, b: log_student(b / a),
            "bootstrap of pairs": bootstrap_pairs,
            "Hodges-Lehmann, unpaired": hodges_lehmann}),
    ):
        for n in (2, 3, 4, 5, 6, 7, 8, 10, 20):
            print(f"{title}\nn = {n:<27}" + "".join(f"{name:>17}" for name in SHAPES))
            data = []
            for shape in SHAPES.values():
                host = np.exp(shared * rng.standard_normal((2000, n)).cumsum(axis=1))
                data.append((np.maximum(shape((2000, n)), 1e-3) * host, np.maximum(shape((2000, n)), 1e-3) * host))
            for label, method in methods.items():
                cells = []
                for a, b in data:
                    said = []
                    for factor in (1.0, 1.1):
                        low, high = method(a, b * factor)
                        said.append(np.mean((low > 1) | (high < 1)) * 100)
                    cells.append(f"{said[0]:7.1f} / {said[1]:5.1f}")
                print(f"{label:<31}" + "".join(f"{cell:>17}" for cell in cells))
            print()


# --- stopping at a precision --------------------------------------------------------------------------------
def stopping():
    print("3. Coverage in percent (trials on average) if trials are added until the relative half-width is at")
    print("   most the wanted precision, beginning to look after n trials, giving up after 60.\n")
    for first in (2, 3, 5, 6, 8, 10):
        print(f"n = {first:<27}" + "".join(f"{name:>17}" for name in SHAPES))
        for precision in (0.02, 0.05):
            cells = []
            for name, shape in SHAPES.items():
                x = shape((3000, 60))
                going, hits, trials = np.ones(len(x), bool), 0, 0
                for n in range(first, 61):
                    low, high = chosen(x[:, :n])
                    met = (high - low) / 2 / np.median(x[:, :n], axis=1) <= precision
                    stop = going & (met | (n == 60))
                    hits += (stop & (low <= TRUE_MEDIAN[name]) & (TRUE_MEDIAN[name] <= high)).sum()
                    trials += n * stop.sum()
                    going &= ~stop
                cells.append(f"{hits / len(x) * 100:7.1f} ({trials / len(x):6.1f})")
            print(f"{f'precision {precision:.0%}':<31}" + "".join(f"{cell:>17}" for cell in cells))
        print()


if __name__ == "__main__":
    print(f"Made by tests/statistics/coverage.py; numpy {np.__version__}, scipy {scipy.__version__}, seed {SEED}.\n")
    intervals()
    groups()
    stopping()

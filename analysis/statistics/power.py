"""Number of blocks needed: power of the test that will decide, before a run and after it.

That test is the one-sample t over blocks, at the level that Holm leaves to the smallest of all declared hypotheses
(alpha over their number). Effects are on the log scale (0.05 is about 5% of the metric). The SD of an effect between
blocks is from an earlier run of at least five blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, lgamma, log, log1p, sqrt
from pathlib import Path
from typing import Any

from branchwise.analysis.declared.inference import ALPHA, percent

EFFECTS = {  # by the effect that is tested; components of a design with excluded cells may have different ones
    "shapley": "Shapley value",
    "leave_one_out": "leave-one-out effect",
    "add_one_in": "add-one-in effect",
    "main_effect": "main effect",
    "mixed": "effect",
}
POWER = 0.8
MIN_DF = 4  # of an SD that is good enough for a forecast
LARGEST = 1.0  # an effect of 100%: a plan reports larger ones only as larger
MAX_BLOCKS = 1000
SAME = ("trainable", "data", "teacher", "student", "train", "method", "evaluate", "settings", "command")


@dataclass(frozen=True, kw_only=True)
class EffectSD:
    """SD between blocks (log scale) of the tested effects, and its degrees of freedom."""

    run: str
    sd: float
    df: float

    @property
    def enough(self) -> bool:
        """Whether it is from enough blocks to plan with."""
        return self.df >= MIN_DF - 1e-6


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Effect of doubled sampling repeats: extra seconds per arm, relative interval narrowing."""

    now: int
    seconds: float
    narrower: float


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Effects that a design can detect, on the log scale; residual SDs if `effect_sd` is None."""

    effect: str  # what is tested of each component: a key of EFFECTS
    blocks: int
    hypotheses: int
    effect_sd: EffectSD | None
    detectable: float  # smallest effect with 80% power
    detectable_next: float  # with another block
    half_width: float  # expected half-width of its interval
    half_width_next: float
    alpha: float = ALPHA  # shared by the hypotheses


@dataclass(frozen=True, kw_only=True)
class ComponentTests:
    """Tests of a design's components.

    Attributes:
        effect: The effect that is tested.
        components: Their number.
        variance: Mean variance of the contrast in a block, in residual variances, where effects do
            not differ between blocks.
    """

    effect: str
    components: int
    variance: float


def summarize_tests(contrasts: Sequence[tuple[str, Mapping[str, float]]]) -> ComponentTests | None:
    """Summarize the tests of components from `(effect, weights by cell)` pairs; None if there are none."""
    if not contrasts:
        return None
    effects = {effect for effect, _ in contrasts}
    squares = [sum(weight**2 for weight in weights.values()) for _, weights in contrasts]
    return ComponentTests(
        effect=effects.pop() if len(effects) == 1 else "mixed",
        components=len(contrasts),
        variance=sum(squares) / len(squares),
    )


def power(effect: float, effect_sd: float, blocks: int, hypotheses: int = 1, alpha: float = ALPHA) -> float:
    """Chance that the test by block rejects zero when the true effect is `effect`: noncentral t."""
    from scipy.special import nctdtr, stdtrit

    df = blocks - 1
    if df < 1:
        return 0.0
    shift = abs(effect) / (effect_sd / sqrt(blocks))
    edge = float(stdtrit(df, 1 - alpha / hypotheses / 2))
    wrong_side = float(nctdtr(df, shift, -edge)) if shift < 5 else 0.0  # below 3e-7, where SciPy may give NaN
    return float(1 - nctdtr(df, shift, edge)) + wrong_side


def smallest_detectable(effect_sd: float, blocks: int, hypotheses: int = 1, alpha: float = ALPHA) -> float:
    """Smallest effect with 80% power; inf with a single block."""
    if blocks < 2:
        return inf
    low, high = 0.0, effect_sd
    while power(high, effect_sd, blocks, hypotheses, alpha) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if power(middle, effect_sd, blocks, hypotheses, alpha) < POWER:
            low = middle
        else:
            high = middle
    return high


def blocks_needed(effect: float, effect_sd: float, hypotheses: int = 1, alpha: float = ALPHA) -> int | None:
    """Fewest blocks that see `effect` with 80% power; None when 1,000 do not."""
    low, high = 1, 2
    while power(effect, effect_sd, high, hypotheses, alpha) < POWER:
        low, high = high, 2 * high
        if high > MAX_BLOCKS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(effect, effect_sd, middle, hypotheses, alpha) < POWER:
            low = middle
        else:
            high = middle
    return high


def seeds_needed(p: float, df: float, runs: int, alpha: float, one_sided: bool = False) -> int | None:
    """Return the seeds at which a test rejects with 80% power if its mean and SD stay the same.

    Args:
        p: Current p-value of the test.
        df: Its current degrees of freedom.
        runs: Seeds so far; per cell if they are not shared.
        alpha: The level at which it is tested.
        one_sided: Whether `p` is one-sided.

    Returns:
        The number, at least `runs` + 1; None where it exceeds 1,000.
    """
    from scipy.special import nctdtr, stdtrit

    t = abs(float(stdtrit(df, p if one_sided else p / 2)))
    tail = alpha if one_sided else alpha / 2

    def rejects(number: int) -> float:
        freedom, shift = df * (number - 1) / (runs - 1), t * sqrt(number / runs)
        critical = float(stdtrit(freedom, 1 - tail))
        return 1.0 if shift > critical + 8 else float(1 - nctdtr(freedom, shift, critical))  # SciPy may return NaN

    if not t > 0 or rejects(MAX_BLOCKS) < POWER:
        return None
    low, high = runs, MAX_BLOCKS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if rejects(middle) >= POWER else (middle, high)
    return high


def half_width(effect_sd: float, blocks: int, alpha: float = ALPHA) -> float:
    """Expected half-width of the interval at that SD; inf with a single block."""
    from scipy.special import stdtrit

    df = blocks - 1
    if df < 1:
        return inf
    mean_of_sd = sqrt(2 / df) * exp(lgamma(blocks / 2) - lgamma(df / 2))  # E[s] / sigma of a normal sample
    return float(stdtrit(df, 1 - alpha / 2)) * mean_of_sd * effect_sd / sqrt(blocks)


def average_power(planned: Sensitivity) -> float:
    """Return the power at `detectable`, averaged over the uncertainty of the SD.

    The SD has `effect_sd.df` degrees of freedom. The average is over the scaled inverse chi-squared
    distribution, by its quantiles: what many pilots of that size get on
    average.
    """
    from scipy.special import chdtri

    noise = planned.effect_sd
    assert noise is not None
    count = 200
    quantiles = (float(chdtri(noise.df, (i + 0.5) / count)) for i in range(count))
    powers = [
        power(planned.detectable, noise.sd * sqrt(noise.df / item), planned.blocks, planned.hypotheses, planned.alpha)
        for item in quantiles
    ]
    return sum(powers) / count


def sensitivity(
    tests: ComponentTests, blocks: int, effect_sd: EffectSD | None = None, claims: int = 0, alpha: float = ALPHA
) -> Sensitivity:
    """Compute the effects that `blocks` blocks can detect, and the gain of another block.

    Args:
        tests: The tests of the design.
        blocks: Number of blocks.
        effect_sd: SD of effects between blocks from an earlier run.
        claims: Tests declared next to the tested effect of each component.
        alpha: The error that all share.

    Raises:
        ValueError: Fewer than one component or block, or an SD that is not above 0.
    """
    if tests.components < 1 or blocks < 1:
        raise ValueError("the sensitivity of a design takes at least one component and one block")
    if effect_sd is not None and not effect_sd.sd > 0:
        raise ValueError("the SD of an effect is above 0")
    hypotheses = tests.components + claims
    sd = sqrt(tests.variance) if effect_sd is None else effect_sd.sd
    return Sensitivity(
        effect=tests.effect, blocks=blocks, hypotheses=hypotheses, effect_sd=effect_sd, alpha=alpha,
        detectable=smallest_detectable(sd, blocks, hypotheses, alpha),
        detectable_next=smallest_detectable(sd, blocks + 1, hypotheses, alpha),
        half_width=half_width(sd, blocks, alpha), half_width_next=half_width(sd, blocks + 1, alpha),
    )  # fmt: skip


def describe(planned: Sensitivity, repeats: Repeats | None = None) -> list[str]:
    """Describe a plan: effects it detects, gain of another block, blocks for round effects.

    Sentences for a terminal or a report.
    """
    what = EFFECTS[planned.effect]
    an_effect = f"{'an' if what[0] in 'ae' else 'a'} {what}"
    number = planned.hypotheses
    test = f"{what}, by block, 80% power, {percent(planned.alpha)} level"
    test += f" shared by {number} hypotheses" if number > 1 else ""
    more, noise = _effect(planned.detectable_next, planned), planned.effect_sd
    if noise is not None and not noise.enough:
        return [f"Too few blocks to plan from: an SD between blocks takes {MIN_DF + 1} or more."]
    if noise is not None and isfinite(planned.detectable) and planned.detectable > log1p(LARGEST):
        needed = blocks_needed(log1p(LARGEST), noise.sd, number, planned.alpha)
        return [
            f"With {planned.blocks} seeds, no effect below {LARGEST:.0%} is detectable ({test}): the effects had an SD "
            f"of {noise.sd:.3g} between blocks (log).",
            f"Seeds needed to detect a change of {LARGEST:.0%}: {needed or f'over {MAX_BLOCKS}'}.",
        ]
    if not isfinite(planned.detectable):
        lines = [f"One seed gives no intervals; with 2 seeds, effects of {more} or more are detectable ({test})."]
    else:
        lines = [
            f"With {planned.blocks} seeds, effects of {_effect(planned.detectable, planned)} or more are detectable "
            f"({test}); with one more seed, {more}.",
            f"Expected {percent(1 - planned.alpha)} interval of {an_effect}: "
            f"±{_effect(planned.half_width, planned)}; with one more seed, "
            f"±{_effect(planned.half_width_next, planned)}.",
        ]
    if noise is None:
        lines.append(
            "A residual SD is that of one arm within its block, where effects are the same in every block. Percentages "
            f"take an earlier run of these settings with {MIN_DF + 1} seeds or more."
        )
    else:
        expected = {f"{p}%": blocks_needed(log(1 + p / 100), noise.sd, number, planned.alpha) for p in (5, 10, 20)}
        text = ", ".join(f"{name}: {'over ' + str(MAX_BLOCKS) if n is None else n}" for name, n in expected.items())
        lines.append(f"Seeds needed to detect a change of the metric (change: seeds): {text}.")
        lines.append(
            f"The noise is that of {noise.run}: effects had an SD of {noise.sd:.3f} between blocks (log, "
            f"{noise.df:.0f} degrees of freedom)."
        )
        if isfinite(planned.detectable) and (average := average_power(planned)) < POWER - 0.005:
            lines.append(
                f"The power is {POWER:.0%} if that SD is exact; allowing for its uncertainty, {average:.0%} on average."
            )
    if repeats:
        lines.append(
            f"Sampling each model {2 * repeats.now} times instead of {repeats.now} would take about "
            f"{repeats.seconds:.1f} s more an arm and narrow intervals by about {repeats.narrower:.0%}."
        )
    return lines


def _effect(effect: float, planned: Sensitivity) -> str:
    if planned.effect_sd is None:
        return f"{effect:.2f} residual SDs"
    return f"over {LARGEST:.0%}" if effect > log1p(LARGEST) else f"{100 * (exp(effect) - 1):.1f}%"


def earlier_noise(
    storage: Path, space: Mapping[str, Any], effect: str = "shapley", cells: int = 0
) -> tuple[EffectSD | None, Repeats | None]:
    """Return the noise of the newest report under `storage` that fits the planned space.

    Reports are `<run>/report/ablation.json`. Only runs with the same settings count, for noise
    depends on all of them, those that test the same effect, for the SD is that of its contrast, and
    only those with enough degrees of freedom. Reports that cannot be read as such are passed over:
    they are not this run's business.
    """
    paths = sorted(storage.glob("*/report/ablation.json"), key=lambda path: -path.stat().st_mtime)
    for path in paths:
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        noise = _noise(report, space, effect, cells) if isinstance(report, dict) else None
        if noise is not None:
            return noise, _repeats(report["model"].get("repeats"))
    return None, None


def _noise(report: Mapping[str, Any], space: Mapping[str, Any], effect: str, cells: int) -> EffectSD | None:
    model, settings = report.get("model"), report.get("space")
    if not isinstance(model, dict) or not isinstance(settings, dict):
        return None
    result = model.get("effect_sd")
    if not isinstance(result, dict) or any(settings.get(part) != space.get(part) for part in SAME):
        return None
    same_cells = effect not in ("main_effect", "mixed") or model.get("cells") == cells
    if (model.get("plan") or {}).get("effect", effect) != effect or not same_cells:
        return None
    sd, df = result.get("sd"), result.get("df")
    if not isinstance(sd, float) or not isinstance(df, int | float) or not sd > 0 or df < MIN_DF - 1e-6:
        return None
    return EffectSD(run=str(report.get("name")), sd=sd, df=df)


def _repeats(result: object) -> Repeats | None:
    try:
        return Repeats(**result) if isinstance(result, dict) else None
    except TypeError:
        return None

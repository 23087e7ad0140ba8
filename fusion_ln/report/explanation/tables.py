"""Tables of an explanation, and the sentences that they support."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.report.explanation.figures import count_patients
from fusion_ln.report.explanation.reading import Explanation
from fusion_ln.report.kit import style
from fusion_ln.report.kit.style import percent
from fusion_ln.terms import LABEL, MODALITY, PATIENT, RANDOM_MAPS, modality_title, short_title
from fusion_ln.units import are_nodes, number_patients, patient_of

MEAN_DRAWS = 2000  # bootstrap means over patients


@dataclass(frozen=True)
class MapMeasure:
    """A measure of maps: the name of its column, its title, and its direction."""

    name: str
    title: str
    higher_is_better: bool

    @property
    def heading(self) -> str:
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"


MAP_MEASURES = (
    MapMeasure("insertion", "Insertion", higher_is_better=True),
    MapMeasure("deletion", "Deletion", higher_is_better=False),
    MapMeasure("infidelity", "Infidelity", higher_is_better=False),
    MapMeasure("sensitivity", "Sensitivity", higher_is_better=False),
    MapMeasure("randomised", "Correlation with a randomised model", higher_is_better=False),
    MapMeasure("node_weight", "Weight in the node", higher_is_better=True),
    MapMeasure("node_peak", "Peak in the node", higher_is_better=True),
    MapMeasure("marks_weight", "Weight on marks", higher_is_better=False),
)


def method_table(read: Explanation) -> pd.DataFrame:
    """Average every measure over the patients, with a 95 % bootstrap interval; random maps come last."""
    parts = [table for table in (read.tested, read.places) if len(table)]
    if not parts:
        return pd.DataFrame()
    joined = parts[0] if len(parts) == 1 else parts[0].merge(parts[1], on=["method", PATIENT])
    rows = []
    for method in dict.fromkeys(joined["method"]):
        own = joined[joined["method"] == method]
        row: dict[str, str | int | float] = {
            "method": method,
            "title": read.titles.get(method, "Random"),
            "patients": len(own),
        }
        for measure in (each.name for each in MAP_MEASURES):
            if measure in own:
                known = own.dropna(subset=measure)
                values = known[measure].to_numpy()
                low, high = _interval(values, known[PATIENT].tolist())
                row |= {measure: values.mean() if len(values) else np.nan, f"{measure}_low": low}
                row |= {f"{measure}_high": high}
        if "error" in own and own["error"].notna().any():
            row["completeness_error"] = own["error"].max()
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(values: np.ndarray, units: list[str]) -> tuple[float, float]:
    """Compute the bootstrap limits of a mean over patients, each drawn with all nodes."""
    if len({patient_of(unit) for unit in units}) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(0)
    if are_nodes(units):
        sums, counts = (np.bincount(number_patients(units), of) for of in (values, None))
        drawn = rng.integers(0, len(sums), (MEAN_DRAWS, len(sums)))
        means = sums[drawn].sum(1) / counts[drawn].sum(1)
    else:
        means = rng.choice(values, (MEAN_DRAWS, len(values))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def best_of(methods: pd.DataFrame) -> dict[str, str]:
    """Find the best method by every measure."""
    real = methods[methods["method"] != RANDOM_MAPS].set_index("method") if len(methods) else methods
    found = {}
    for measure in MAP_MEASURES:
        if measure.name in real and (values := real[measure.name]).notna().any():
            found[measure.name] = str(values.idxmax() if measure.higher_is_better else values.idxmin())
    return found


def leading_method(read: Explanation, methods: pd.DataFrame) -> str:
    """Choose the method shown first: the widest gap between insertion and deletion; untested, the first one."""
    if "insertion" not in methods:
        return next(iter(read.titles))
    real = methods[methods["method"] != RANDOM_MAPS].set_index("method")
    return str((real["insertion"] - real["deletion"]).idxmax())


def truth_shares(read: Explanation) -> pd.DataFrame:
    """Average each modality's contribution to the probability of the true class, and the exact one."""
    if read.contributions.empty:
        return pd.DataFrame()
    table = read.contributions
    true = table[table["class"] == table[LABEL].map(dict(enumerate(read.classes)))]
    columns = [column for column in ("contribution", "exact") if column in true]
    return true.groupby(MODALITY)[columns].mean().reindex(read.modalities).reset_index()


def pair_table(read: Explanation) -> pd.DataFrame:
    """Average the interaction of each pair of modalities in the probability of the true class."""
    if read.interactions.empty:
        return pd.DataFrame()
    labels = read.contributions.drop_duplicates(PATIENT).set_index(PATIENT)[LABEL]
    table = read.interactions
    true = table[table["class"] == table[PATIENT].map(labels).map(dict(enumerate(read.classes)))]
    columns = [column for column in ("interaction", "exact") if column in true]
    return true.groupby("pair", sort=False)[columns].mean().reset_index()


def explanation_verdict(read: Explanation) -> str:
    """Give the page's answer in one sentence."""
    shares = truth_shares(read)
    if shares.empty:
        [modality] = read.modalities
        wrong = int((read.patients["target"] != read.patients[LABEL]).sum())
        return f"{modality_title(modality)}: maps of {len(read.patients)} patients, {wrong} of them misjudged."
    first = int(shares["contribution"].to_numpy().argmax())
    name = short_title(str(shares[MODALITY].iloc[first]))
    gain = style.signed(float(shares["contribution"].iloc[first]))
    return f"{name} tells these models most: {gain} on the probability of the truth."


def lead(read: Explanation, methods: pd.DataFrame, leader: str) -> str:
    """Explain the answer: the other modalities, and the place of the maps' weight."""
    shares, words = truth_shares(read), []
    if not shares.empty:
        rest = shares.sort_values("contribution", ascending=False)[1:]
        others = [
            f"{short_title(str(m))} {style.signed(float(c))}"
            for m, c in zip(rest[MODALITY], rest["contribution"], strict=True)
        ]
        n = count_patients(read.contributions)
        words.append(f"After it: {', '.join(others)}; Shapley values in the mean of {n} patients.")
    if "node_weight" in methods:
        rows = {row["method"]: row for row in methods.to_dict("records")}
        own, chance = rows[leader], rows.get(RANDOM_MAPS)
        words.append(
            f"Of what speaks for a prediction, {percent(own['node_weight'])} lies in the node and "
            f"{percent(own['marks_weight'])} on burned-in marks ({read.titles[leader]})"
            + (
                f"; random maps put {percent(chance['node_weight'])} and {percent(chance['marks_weight'])} there."
                if chance is not None
                else "."
            )
        )
    if "insertion" in methods:
        words.append(
            f"{read.titles[leader]} is shown first: of the methods tested, its maps best separate the pixels that "
            "make the prediction (insertion minus deletion)."
        )
    return " ".join(words)

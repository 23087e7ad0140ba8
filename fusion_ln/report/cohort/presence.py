"""Presence audit of a cohort in words."""

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.presence import LINKED_BELOW, PresenceAudit, audit_presence, count_views
from fusion_ln.report.kit.style import number, spread
from fusion_ln.terms import FOLD, LABEL, PATIENT

SAME = "all patients have pictures of the same modalities, as many of each, so there is nothing to test"


def audit_cohort(cohort: Cohort) -> PresenceAudit | None:
    """Audit which pictures the patients have; see `audit_presence`.

    Raises:
        PredictionsError: If a class has fewer than 2 patients, or the patients have no labels.
    """
    if cohort.is_unlabelled:
        raise PredictionsError("its patients have no labels.")
    if cohort.of_nodes:
        raise PredictionsError("its units are nodes, and the test is one of patients.")
    rows = cohort.patients[[PATIENT, LABEL]].merge(cohort.folds[[PATIENT, FOLD]], on=PATIENT)
    views = count_views(cohort.images, rows[PATIENT].tolist(), cohort.modalities)
    return audit_presence(views, rows[LABEL].to_numpy(), rows[FOLD].to_numpy(), cohort.classes)


def describe_presence(audit: PresenceAudit | None) -> str:
    """State in a sentence or two whether the pattern of which pictures exist predicts the class."""
    if audit is None:
        return f"Which pictures exist: {SAME}."
    found = (
        f"Which pictures exist predicts the class with an AUC of {number(audit.auc)} "
        f"({spread(audit.ci_low, audit.ci_high)}), where chance gives {number(audit.chance)}; p = {number(audit.p)} by "
        "permutation."
    )
    wider = (
        " The interval is wider than the test: it speaks of other fits, too." if audit.ci_low <= audit.chance else ""
    )
    if audit.linked:
        return (
            f"{found} That is a link (p < {LINKED_BELOW}): a model that sees which pictures are missing may read the "
            f"class off the examination instead of the node.{wider}"
        )
    return f"{found} No link with the class was shown."

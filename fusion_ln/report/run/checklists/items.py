"""Items of the reporting checklists TRIPOD+AI and CLAIM 2024, in our own words.

Their wording stands in Collins et al. 2024 (BMJ 385:e078378) and in Tejani et al. 2024 (Radiol. Artif. Intell.
6:e240300).
"""

from typing import NamedTuple

DEVELOPMENT, EVALUATION, BOTH = "development", "evaluation", "both"


class Item(NamedTuple):
    """An item of a checklist.

    Attributes:
        number: Its number in the checklist.
        asks_for: Its topic.
        answer: Name of the runs' answer in `answers`; empty where only the author knows.
        to_add: What only the author can add to the runs' answer; empty for nothing.
        applies_to: Part of a study that TRIPOD+AI asks it of.
    """

    number: str
    asks_for: str
    answer: str = ""
    to_add: str = ""
    applies_to: str = BOTH


TRIPOD_AI = (
    Item("1", "Title: prediction model, population, outcome"),
    Item("2", "Abstract"),
    Item("3a", "Context and rationale"),
    Item("3b", "Target population, purpose and users"),
    Item("3c", "Known health inequalities"),
    Item("4", "Objectives", "question"),
    Item("5a", "Sources of data", "source", "Reasons for these data; how representative they are"),
    Item("5b", "Dates of data collection"),
    Item("6a", "Setting, number and place of centres", "sites", "Setting; places of the centres"),
    Item("6b", "Eligibility"),
    Item("6c", "Treatments"),
    Item("7", "Preparation of the data", "preparation", "Steps before the import"),
    Item("8a", "Outcome and how it was assessed", "classes", "How and when the outcome was assessed"),
    Item("8b", "Who assessed the outcome"),
    Item("8c", "Blinding of the outcome's assessment"),
    Item("9a", "Choice of predictors", "inputs", "Reasons for these predictors", applies_to=DEVELOPMENT),
    Item("9b", "Definition and measurement of predictors"),
    Item("9c", "Who assessed the predictors"),
    Item("10", "Sample size", "counts", "How the number was planned"),
    Item("11", "Missing data", "missing", "Reasons for missing data"),
    Item("12a", "Use and partition of the data", "partition", applies_to=DEVELOPMENT),
    Item("12b", "Handling of predictors", "preparation", applies_to=DEVELOPMENT),
    Item("12c", "Type of model, building and internal validation", "model", applies_to=DEVELOPMENT),
    Item("12d", "Heterogeneity between clusters", "between_sites"),
    Item("12e", "Measures of performance", "metrics"),
    Item("12f", "Model updating", applies_to=EVALUATION),
    Item("12g", "How predictions were made", "output", applies_to=EVALUATION),
    Item("13", "Class imbalance", "imbalance"),
    Item("14", "Fairness", "subgroups", "Reasons for these groups"),
    Item("15", "Output of the model", "output", applies_to=DEVELOPMENT),
    Item("16", "Differences between development and evaluation data", "internal"),
    Item("17", "Ethical approval"),
    Item("18a", "Funding"),
    Item("18b", "Conflicts of interest"),
    Item("18c", "Protocol"),
    Item("18d", "Registration"),
    Item("18e", "Data sharing", "source", "Where others get the data"),
    Item("18f", "Code sharing", "software", "Where others get the code"),
    Item("19", "Patient and public involvement"),
    Item("20a", "Flow of participants", "flow"),
    Item("20b", "Characteristics of participants", "counts", "Further characteristics (`fusionln cohort stats`)"),
    Item("20c", "Comparison of development and evaluation data", "internal", applies_to=EVALUATION),
    Item("21", "Participants and outcomes in each analysis", "flow"),
    Item("22", "Full specification of the model", "specification", applies_to=DEVELOPMENT),
    Item("23a", "Performance with intervals, also in subgroups", "performance"),
    Item("23b", "Heterogeneity of performance between clusters", "between_sites"),
    Item("24", "Results of model updating", applies_to=EVALUATION),
    Item("25", "Interpretation"),
    Item("26", "Limitations", "limitations", "Limitations that the runs cannot know"),
    Item("27a", "Poor or missing input at use", "missing", applies_to=DEVELOPMENT),
    Item("27b", "Interaction and expertise of users", applies_to=DEVELOPMENT),
    Item("27c", "Next steps for research"),
)
CLAIM_2024 = (
    Item("1", "Title or abstract: use of AI, and its kind"),
    Item("2", "Structured abstract"),
    Item("3", "Background and the model's role in practice"),
    Item("4", "Aims and hypotheses", "question", "Hypotheses fixed beforehand"),
    Item("5", "Prospective or retrospective"),
    Item("6", "Goal of the study", "question"),
    Item("7", "Sources of the data", "source", "Places and dates of collection"),
    Item("8", "Inclusion and exclusion criteria"),
    Item("9", "Pre-processing", "preparation", "Steps before the import, such as cropping"),
    Item("10", "Selection of parts of the data", "selected"),
    Item("11", "De-identification", "deidentification", "How names left headers, tables and pictures"),
    Item("12", "Missing data", "missing", "Reasons for missing data"),
    Item("13", "Acquisition protocol: devices, probes, settings"),
    Item("14", "Reference standard: how it was obtained", "classes", "How it was obtained"),
    Item("15", "Reference standard: why this one"),
    Item("16", "Annotators and their qualification"),
    Item("17", "Annotation of the test set", "test_labels", "How the labels were checked"),
    Item("18", "Variability between and within raters"),
    Item("19", "Assignment to partitions", "partition"),
    Item("20", "Level at which partitions are disjoint", "disjoint"),
    Item("21", "Intended sample size", "counts", "How the number was planned (`fusionln plan`)"),
    Item("22", "Model", "model"),
    Item("23", "Software", "software"),
    Item("24", "Initialisation of parameters", "weights"),
    Item("25", "Training", "training"),
    Item("26", "Choice of the final model", "selection"),
    Item("27", "Ensembling", "ensembling"),
    Item("28", "Metrics", "metrics"),
    Item("29", "Significance and uncertainty", "uncertainty"),
    Item("30", "Robustness", "robustness"),
    Item("31", "Explainability", "explanation"),
    Item("32", "Evaluation on internal data", "internal"),
    Item("33", "Testing on external data", "external"),
    Item("34", "Registration of a trial"),
    Item("35", "Patients included and excluded", "flow", "Exclusions before the import"),
    Item(
        "36",
        "Characteristics of patients in each partition",
        "by_fold",
        "Further characteristics (`fusionln cohort stats`)",
    ),
    Item("37", "Performance with its uncertainty", "performance"),
    Item("38", "Diagnostic performance and its precision", "diagnostic"),
    Item("39", "Failure analysis", "failures", "A look at the patients who were missed"),
    Item("40", "Limitations", "limitations", "Limitations that the runs cannot know"),
    Item("41", "Implications for practice"),
    Item("42", "Study protocol"),
    Item("43", "Availability of software, model and data", "specification", "Where others get them"),
    Item("44", "Funding"),
)

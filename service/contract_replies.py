"""The client's typed replies, `service/remote/replies.py`, made of the HTTP contract by `make openapi`.

What the client calls otherwise than the contract, or the contract cannot say, stands in `REPLIES`; all else comes
from the schemas.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PYTHON_FILE = Path(__file__).parent / "remote" / "replies.py"
WIDTH = 116
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
HEADER = '''"""What the service replies with, as typed dictionaries: the JSON of the public API, key by key.

The client hands the JSON on as it came, so a key that a newer service adds is kept. Made by `make openapi` of the same
schemas as docs/openapi.json, as `service/contract_replies.py` says; `make check` compares.
"""

from typing import Any, NotRequired, TypedDict
'''


@dataclass(frozen=True)
class Said:
    """What is known of a field beyond its schema."""

    kind: str
    """Its type."""
    text: str = ""
    """What it is; the schema's own words where nothing stands here."""


@dataclass(frozen=True)
class Reply:
    """A typed dictionary of the client."""

    schema: str
    """Its name in the contract."""
    text: str = ""
    """What it is; the schema's own words where nothing stands here."""
    fields: Mapping[str, Said] = field(default_factory=dict)
    """Fields whose type the schema does not say, or that it lacks."""


REPLIES = {
    "Measure": Reply("MeasureRead"),
    "LearnerMeasures": Reply("LearnerMeasures"),
    "Accuracy": Reply("LearnerAccuracy"),
    "LearnerConsolidation": Reply("LearnerConsolidation"),
    "Learner": Reply(
        "LearnerRead",
        "A named continual learner.",
        {
            "etag": Said(
                "NotRequired[str]",
                "Of its metadata, where one learner was read; the client takes it from the answer's headers.",
            )
        },
    ),
    "Strategy": Reply("StrategyRead", "A way to learn that a learner can be created with."),
    "Background": Reply("BackgroundRead"),
    "Backbone": Reply("BackboneRead", "A frozen network that a learner can be created with."),
    "LearnedClass": Reply(
        "ClassRead",
        "A class that a learner knows.",
        {
            "etag": Said(
                "NotRequired[str]",
                "Of its name and whether it is hidden, where one class was read or changed.",
            )
        },
    ),
    "JudgedImage": Reply("JudgedImageRead"),
    "ImagePair": Reply("ImagePairRead"),
    "PullingImage": Reply("PullingImageRead"),
    "ClassInsights": Reply("ClassInsightsRead"),
    "Insights": Reply("InsightsRead"),
    "UnlearnPreview": Reply("UnlearnPreview"),
    "Alias": Reply("AliasRead", "A movable name of a version: `live` is the one that answers."),
    "TaskProgress": Reply("TaskProgress", "How far the learning of a task is."),
    "TaskSamples": Reply("SampleCounts", "How many images a task has."),
    "Rejected": Reply("RejectedImage", "An image left out of a task."),
    "Quarantined": Reply("QuarantinedImage"),
    "Finding": Reply("FindingRead"),
    "TaskError": Reply("TaskError"),
    "TaskConsolidation": Reply("ConsolidationRead"),
    "LeftOutFile": Reply("LeftOutFile"),
    "UploadLayout": Reply("LayoutRead"),
    "Task": Reply("TaskRead", "One increment of labelled classes."),
    "TaskEvent": Reply("EventRead", "Something that happened to a task."),
    "Sample": Reply("SampleRead", "A stored image of a task."),
    "SamplesDropped": Reply("SamplesDropped", "How many images were deleted."),
    "RankedLabel": Reply("ScoredLabel", "A label among the best ones of an image."),
    "SynapseState": Reply("SynapseRead"),
    "Route": Reply("Route", "Which sub-networks took part in an answer."),
    "ImageProblem": Reply("Problematic", "Why an image of several could not be used."),
    "PredictionResult": Reply(
        "ImagePrediction",
        "The answer for one image; of one that could not be used, `problem` says why in its place.",
        # All of them are there unless `problem` is: whoever asks about images that can be used need not look.
        {
            "filename": Said("str | None"),
            "label": Said("str"),
            "score": Said("float"),
            "task": Said("int"),
            "novelty": Said("float"),
            "known": Said("bool"),
            "top": Said("list[RankedLabel]"),
        },
    ),
    "Timing": Reply("Timing"),
    "Prediction": Reply("PredictionRead"),
    "GivenFeedback": Reply("GivenFeedback"),
    "Feedback": Reply("FeedbackRead"),
    "StoredPrediction": Reply("StoredPrediction"),
    "SynapseAccount": Reply("SynapseAccount"),
    "HeadAccount": Reply("HeadAccount"),
    "StoredAnswer": Reply("StoredAnswer"),
    "Account": Reply("AccountRead"),
    "Heat": Reply("HeatRead"),
    "ScoredClass": Reply("ScoredClass"),
    "ReviewImage": Reply("ReviewImage"),
    "ReviewItem": Reply("ReviewItem"),
    "ReviewAct": Reply("ReviewActRead"),
    "JobImages": Reply("JobImages"),
    "LabelCount": Reply("LabelCount"),
    "JobError": Reply("JobError"),
    "PredictionJob": Reply("PredictionJobRead"),
    "AnsweredBefore": Reply("AnsweredBefore"),
    "JobResult": Reply("JobResult"),
    "AccuracyMeasures": Reply("AccuracyMeasures"),
    "AccuracyHistory": Reply(
        "AccuracyRead",
        "How well every task was known after every task; row i of `matrix` is version i.",
    ),
    "Version": Reply("VersionRead"),
    "ConfusedPair": Reply("ConfusedPairRead"),
    "ConfusedPairs": Reply("ConfusedPairs"),
    "DriftDay": Reply("DriftDay"),
    "DriftChange": Reply("DriftChange"),
    "Drift": Reply("DriftRead"),
    "ConfusedImage": Reply("ConfusedImage"),
    "SaidImage": Reply("SaidImageRead"),
    "ConfusedImages": Reply("ConfusedImages"),
    "Confusion": Reply(
        "ConfusionRead",
        "What a version took held-out images for: counts by task, true label and answered label.",
    ),
    "KeyQuotas": Reply("KeyQuotas", "Where the limits of a key differ from those of the service."),
    "KeyDay": Reply("KeyDay", "What was posted with a key within 24 hours, and how much may be."),
    "Key": Reply(
        "KeyRead",
        "An API key.",
        {
            "key": Said(
                "NotRequired[str | None]",
                "The whole secret, shown once: when it is created; None where that answer is replayed.",
            )
        },
    ),
    "SubscriptionRule": Reply("SubscriptionRule"),
    "Subscription": Reply(
        "SubscriptionRead",
        "",
        {
            "secret": Said(
                "NotRequired[str | None]",
                "What its messages are signed with, shown once: when it is created; None where that is replayed.",
            )
        },
    ),
    "MessageTry": Reply("MessageTry"),
    "Message": Reply("MessageRead"),
    "LoginLink": Reply("LoginLinkRead"),
    "AuditEntry": Reply("AuditRead"),
    "HeldTask": Reply("HeldTask"),
    "Worker": Reply("WorkerRead"),
    "LoadedVersion": Reply("LoadedVersion"),
    "Part": Reply("Part"),
    "Readiness": Reply("Readiness", "Whether predictions are answered, and by what."),
    "HealthFinding": Reply("HealthFindingRead"),
    "Health": Reply("HealthRead", "Whether anything is wrong, and what to do next."),
    "Limits": Reply("Limits"),
    "Info": Reply("Info"),
}
"""The typed dictionaries by name, each after those that it holds."""
_NAMES = {reply.schema: name for name, reply in REPLIES.items()}


def as_python(contract: Mapping[str, Any]) -> str:
    """Return `replies.py` for an OpenAPI document.

    Raises:
        KeyError: If a reply's schema, or one that it holds, is not there.
    """
    schemas = contract["components"]["schemas"]
    classes = [
        "\n".join(_lines(name, reply, schemas[reply.schema])) for name, reply in REPLIES.items()
    ]
    return "\n\n".join([HEADER, *(f"{text}\n" for text in classes)])


def _lines(name: str, reply: Reply, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"class {name}(TypedDict):"
    yield from _quoted(reply.text or schema["description"])
    yield ""
    needed = set(schema.get("required", ()))
    for key, property_schema in schema["properties"].items():
        declared = reply.fields.get(key)
        kind = (
            python_type(property_schema)
            if key in needed
            else f"NotRequired[{python_type(property_schema)}]"
        )
        yield f"    {key}: {declared.kind if declared else kind}"
        yield from _quoted(
            (declared.text if declared else "") or property_schema.get("description", "")
        )
    for key, declared in reply.fields.items():
        if key not in schema["properties"]:
            yield f"    {key}: {declared.kind}"
            yield from _quoted(declared.text)


def _quoted(text: str) -> list[str]:
    """Return a docstring's lines; the first sentence alone if they are several."""
    if not text:
        return []
    whole = " ".join(text.split())
    paragraphs = [whole]
    if len(whole) > WIDTH - 6 and ". " in whole:
        first, _, rest = whole.partition(". ")
        paragraphs = [f"{first}.", rest]
    lines = "\n\n".join(textwrap.fill(part, WIDTH - 6) for part in paragraphs).splitlines()
    if len(lines) == 1:
        return [f'    """{lines[0]}"""']
    indented = [f"    {line}".rstrip() for line in lines[1:]]
    return [f'    """{lines[0]}', *indented, '    """']


def python_type(schema: Mapping[str, Any]) -> str:
    """Return what a field of JSON is in Python. Values of an enumeration are `str`: a newer service may know more.

    Example:
        >>> python_type({"items": {"anyOf": [{"type": "number"}, {"type": "null"}]}, "type": "array"})
        'list[float | None]'
    """
    if "$ref" in schema:
        return _NAMES[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return " | ".join(python_type(choice) for choice in schema["anyOf"])
    match schema["type"]:
        case "null":
            return "None"
        case "array":
            return f"list[{python_type(schema['items'])}]"
        case "object":
            values = schema["additionalProperties"]
            return f"dict[str, {'Any' if values is True else python_type(values)}]"
        case scalar:
            return SCALARS[scalar]

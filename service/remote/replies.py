"""What the service replies with, as typed dictionaries: the JSON of the public API, key by key.

The client hands the JSON on as it came, so a key that a newer service adds is kept. Made by `make openapi` of the same
schemas as docs/openapi.json, as `service/contract_replies.py` says; `make check` compares.
"""

from typing import Any, NotRequired, TypedDict


class Measure(TypedDict):
    """An accuracy, or a mean or difference of such, and how sure it is."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    n: int
    """Images it rests on; for a mean over versions, those of the version with most."""
    n_cross_validated: int
    """Of these, images that are learned from, each answered by what was learned from the others."""
    measured_by: str
    """Whether the images were held out, left out in turn (`cross_validated`), or some of each."""
    too_few: bool
    """Whether there are too few images to tell: the interval is wider than 40 points."""


class LearnerMeasures(TypedDict):
    """How sure the accuracies of the live version are; null where nothing was measured."""

    last: Measure | None
    average: Measure | None
    forgetting: Measure | None


class Accuracy(TypedDict):
    """How well the live version knows what was learned up to it; null where nothing was evaluated."""

    last: float | None
    average: float | None
    forgetting: float | None
    measures: NotRequired[LearnerMeasures | None]
    """How sure they are; null from a service that does not tell."""


class LearnerConsolidation(TypedDict):
    """How far what a learner has learned has been consolidated."""

    stage: str
    """Of the head: `learned`, its classes are answered; `consolidated`, its images have also shaped the features."""
    waiting: list[int]
    """Indexes of the tasks whose images have not shaped the features yet. Their classes are answered already."""
    task_id: str | None
    """The consolidation that waits or runs, or else the last one; `GET /v1/tasks/{id}` follows it.

    Null before the first.
    """
    status: str | None
    """Of that consolidation, as tasks have it."""
    standing: str
    """All of this in plain words."""


class Learner(TypedDict):
    """A named continual learner."""

    name: str
    strategy: str
    backbone: str
    config: dict[str, Any]
    metadata: dict[str, Any]
    created_at: str
    classes: int
    """Classes of the live version."""
    tasks: int
    """Tasks that the live version knows."""
    head_version: int
    """Version the next task builds on; 0 before the first."""
    live_version: int
    """Version that answers predictions; 0 before the first."""
    accuracy: Accuracy
    consolidation: LearnerConsolidation | None
    """How far what it learned has been consolidated; null before its first version, and for strategies that train as
    they learn.
    """
    etag: NotRequired[str]
    """Of its metadata, where one learner was read; the client takes it from the answer's headers."""


class Strategy(TypedDict):
    """A way to learn that a learner can be created with."""

    name: str
    summary: str
    keeps_images: bool
    """Whether training images become part of what it learned; deleting a task's images does not delete those."""
    unlearning: str
    """What can be removed again; docs/unlearning.md."""
    looks_into_images: bool
    """Whether `GET /v1/learners/{name}/insights` can tell which of its images hurt."""
    corrects: bool
    """Whether learned images can be moved to other classes, or be taken out; docs/correcting.md."""
    cross_validates: bool
    """Whether it measures itself on images that it learns from, leaving each out in turn: few images of a class are
    then all learned from, and none is held out unless you say so.
    """
    defaults: dict[str, Any]
    config_schema: dict[str, Any]
    """JSON Schema of `config`."""


class Background(TypedDict):
    """Statistics of general images that come with a backbone."""

    n_images: int
    n_classes: int
    """0 if the images were not sorted by class."""


class Backbone(TypedDict):
    """A frozen network that a learner can be created with."""

    name: str
    source: str
    image_size: int | None
    description: str
    background: Background | None
    """Tells learners how images usually lie: where few images of a class do not. Null where there is none."""


class LearnedClass(TypedDict):
    """A class that a learner knows."""

    label: str
    """As it was learned; versions, samples and tasks call it so."""
    name: str
    """What answers call it: the label, unless it was renamed."""
    hidden: bool
    """Whether predictions never answer it."""
    min_score: NotRequired[float | None]
    """Score below which an answer of it counts as not known; null for none."""
    task: int
    """Index of the task that introduced it."""
    samples: dict[str, int]
    """Stored images: `train` and `eval`."""
    accuracy_learned: NotRequired[float | None]
    """Share of its images, held out or left out in turn, that were recognised when it was learned, among the classes
    known then; null where none was counted.
    """
    n_learned: NotRequired[int]
    """How many images that is a share of."""
    accuracy_now: NotRequired[float | None]
    """The same with the live version, among all its classes."""
    n_now: NotRequired[int]
    """How many images that is a share of."""
    measured_learned: NotRequired[Measure | None]
    """How sure `accuracy_learned` is."""
    measured_now: NotRequired[Measure | None]
    """How sure `accuracy_now` is."""
    etag: NotRequired[str]
    """Of its name and whether it is hidden, where one class was read or changed."""


class JudgedImage(TypedDict):
    """What is answered to a training image without it."""

    sample: str
    label: str
    """What it was taught as, by the class's name."""
    looks_like: str
    """The class that is answered without it."""
    score: float
    """Of that class."""
    own_score: float
    """Of its own class."""
    novelty: float


class ImagePair(TypedDict):
    """Two training images that are near to each other."""

    sample: str
    label: str
    other: str
    other_label: str
    cosine: float
    """Of their features, 1 for the same."""


class PullingImage(TypedDict):
    """A training image without which others would be answered rightly."""

    sample: str
    label: str
    n: int
    """How many others."""
    mended: list[JudgedImage]
    """Which, at most ten."""


class ClassInsights(TypedDict):
    """What is known of the training images of one class."""

    label: str
    n: int
    """Training images that were judged."""
    right: Measure | None
    """How many are answered rightly without themselves; null without any."""
    novelty: list[float]
    """Of its images without themselves: what 10 %, half and 90 % of them stay below. Empty without any."""


class Insights(TypedDict):
    """What a learner's training images say of each other, the most telling of each kind first."""

    ready: bool
    """Whether it is known: of many images it takes seconds, once a version. Ask again while it is false."""
    version: int
    n_images: int
    """Training images that the version has learned."""
    n_judged: int
    """Of these, those that could be judged."""
    suspects: list[JudgedImage]
    """Whose label looks wrong: without the image another class is answered, by 0.5 more than its own."""
    look_alikes: list[ImagePair]
    """Images with the nearest one of another class."""
    duplicates: list[ImagePair]
    """Near-duplicates, within a class and across classes."""
    pulls: list[PullingImage]
    classes: list[ClassInsights]


class UnlearnPreview(TypedDict):
    """What would be gone for good once it is unlearned."""

    learner: str
    tasks: list[int]
    """As they were asked for."""
    classes: list[str]
    """Labels of the classes that the learner would no longer know."""
    versions: list[int]
    """Numbers of the versions that would be erased; those that waiting tasks publish before it come on top."""
    images: int
    """Stored images that would be deleted."""
    live_version: int
    """Version that answers predictions now."""


class Alias(TypedDict):
    """A movable name of a version: `live` is the one that answers."""

    name: str
    version: int
    head_version: int
    """Version the next task builds on."""


class TaskProgress(TypedDict):
    """How far the learning of a task is."""

    phase: str
    fraction: float
    epoch: NotRequired[int | None]
    epochs: NotRequired[int | None]
    eta_seconds: NotRequired[float | None]


class TaskSamples(TypedDict):
    """How many images a task has."""

    train: int
    eval: int


class Rejected(TypedDict):
    """An image left out of a task."""

    index: int
    filename: str | None
    problem: str
    """Code of the problem, for example `image-truncated`."""


class Quarantined(TypedDict):
    """An image that is kept, but neither learned nor used to measure accuracy."""

    index: int
    filename: str | None
    reason: str
    """`blank`: all of one colour."""


class Finding(TypedDict):
    """Something that looked wrong with a task's images, or with what learning them did."""

    code: str
    """`labels-disagree`, `classes-alike`, `resembles-known`, `copies`, `harms-known`, `flooded`."""
    detail: str
    """One sentence for the person who decides."""
    holds: bool
    """Whether it is reason enough to hold the task."""
    classes: list[str]
    """The classes it is about; empty where it is about all."""
    numbers: dict[str, float]
    """What was measured."""


class TaskError(TypedDict):
    """Why a task failed."""

    code: str
    detail: str


class TaskConsolidation(TypedDict):
    """What a task of mode `consolidate` is of, and what it came to."""

    tasks: list[int] | None
    """Indexes of the tasks whose images it trains on; null until a worker has it: then all that wait."""
    by_hand: bool
    """Whether somebody has asked for it, so that it waits for neither quiet nor hours."""
    standing: str
    """How it stands, in plain words: what it waits for, how far it is, or how it ended."""
    adopted: bool | None
    """Whether what it trained is used from now on; null until it was judged."""
    reason: str | None
    """Why so, in plain words."""
    images: int | None
    """How many it trained on."""
    seconds: float | None
    """How long it took."""
    details: dict[str, Any]
    """What was measured; with `artsy` `gain`, by how much images that it never saw are answered better, and its
    `standard_error`.
    """


class LeftOutFile(TypedDict):
    """A file of an upload that is no part of the data."""

    path: str
    reason: str
    """`not-an-image`, `system-file` or `not-in-table`."""


class UploadLayout(TypedDict):
    """How the folders of an upload were read."""

    splits: dict[str, str]
    """Folders that named splits, and what their images are used for: `train` or `eval`. Empty without any."""
    tables: list[str]
    """Tables that the labels were read from; empty where they came from folders."""
    notes: list[str]
    """Sentences: what was understood that may surprise."""
    left_out: int
    """Files that were passed over: no images, or what a system leaves behind."""
    left_out_files: list[LeftOutFile]
    """The first of them."""


class Task(TypedDict):
    """One increment of labelled classes."""

    id: str
    learner: str
    index: int
    name: str | None
    mode: str
    status: str
    position: int | None
    """1 is next; null when it no longer waits."""
    classes: list[str]
    samples: TaskSamples
    from_feedback: int
    """How many pieces of feedback it took; their images count among `samples`."""
    rejected: list[Rejected]
    quarantined: list[Quarantined]
    layout: UploadLayout | None
    """How the folders of an archive, or in the names of a form's files, were read; null where labels came otherwise."""
    duplicates: int
    """Images that came more than once in the request, counted without the first. Each is learned once."""
    known: int
    """Images of the request that were left out because the learner has learned them, or is about to."""
    splits_kept: int
    """Images of the request that stay on the side they had before, although it named the other one."""
    findings: list[Finding]
    """What looked wrong with the images; empty until they were looked at."""
    progress: TaskProgress
    attempt: int
    version: int | None
    consolidation: TaskConsolidation | None
    """Of a task of mode `consolidate`: what it is of and what it came to; null for all others."""
    error: TaskError | None
    options: dict[str, Any]
    config: dict[str, Any]
    created_at: str
    started_at: str | None
    finished_at: str | None


class TaskEvent(TypedDict):
    """Something that happened to a task."""

    seq: int
    type: str
    data: dict[str, Any]
    created_at: str


class Sample(TypedDict):
    """A stored image of a task."""

    id: str
    label: str
    """What it shows with the learner's head."""
    taught_label: str | None
    """What it was sent with, where a correction has changed that; null where it is still `label`."""
    split: str
    filename: str | None
    quarantine: str | None
    """Why it is not used, for example `blank`, or `removed` where a correction took it out; null for one that is."""
    width: int
    height: int
    created_at: str


class SamplesDropped(TypedDict):
    """How many images were deleted."""

    deleted: int


class RankedLabel(TypedDict):
    """A label among the best ones of an image."""

    label: str
    score: float
    task: int
    """Index of the task that introduced the class."""


class SynapseState(TypedDict):
    """The state of one task's synapse for one image."""

    task: int
    current: float
    threshold: float
    state: str
    can_fire: NotRequired[bool]
    """Whether a current can reach the threshold at all. A sub-network that has not earned its pass never fires."""


class Route(TypedDict):
    """Which sub-networks took part in an answer."""

    functional: list[int]
    silent: list[int]
    passes: int
    """Forwards of the backbone this image took."""
    without: NotRequired[RankedLabel | None]
    """What would have been answered had no sub-network taken part; null where none did, or where that is not known."""
    synapses: NotRequired[list[SynapseState] | None]
    """With `trace=full`."""


class ImageProblem(TypedDict):
    """Why an image of several could not be used."""

    code: str
    detail: str


class PredictionResult(TypedDict):
    """The answer for one image; of one that could not be used, `problem` says why in its place."""

    index: int
    filename: str | None
    label: str
    score: float
    task: int
    novelty: float
    """Share of held-out known images that look more familiar than this one."""
    known: bool
    """False when the image looks like none of the classes, or the score is below what the class is answered from."""
    below: NotRequired[float | None]
    """What the class is answered from (`min_score` of the class), where the score is below it; else absent."""
    top: list[RankedLabel]
    route: NotRequired[Route | None]
    warnings: NotRequired[list[str]]
    """`blank`: of one colour or transparent; `little_detail`: of nearly one colour; `first_frame_used`: of several."""
    problem: NotRequired[ImageProblem | None]


class Timing(TypedDict):
    """Where the time went, in milliseconds, and how many images shared the batch."""

    decode: float
    queue: float
    infer: float
    total: float
    batch: int


class Prediction(TypedDict):
    """Predictions of one request, all made by one version."""

    id: str
    learner: str
    version: int
    results: list[PredictionResult]
    timing_ms: Timing


class GivenFeedback(TypedDict):
    """What a user said is really on an image of the prediction."""

    index: int
    """Of the result."""
    label: str
    task: str | None
    """Id of the task that took it to learn from; null while it is pending."""
    created_at: str


class Feedback(TypedDict):
    """What a user said about an image, beside what was answered."""

    prediction: str
    """Id of the prediction."""
    index: int
    """Of the result."""
    label: str
    answered: str
    """The label that was answered."""
    score: float
    version: int
    """Which answered."""
    filename: str | None
    task: str | None
    """Id of the task that took it to learn from; null while it is pending."""
    created_at: str


class StoredPrediction(TypedDict):
    """A prediction from the history."""

    id: str
    learner: str
    version: int
    results: list[dict[str, Any]]
    images: list[int]
    """Indexes of the results whose image is kept: those that feedback can be given on."""
    feedback: list[GivenFeedback]
    """What users said is really on the images."""
    created_at: str


class SynapseAccount(TypedDict):
    """One task's synapse for the image, and what the answer would be were it the other way round."""

    task: int
    current: float
    threshold: float
    state: str
    can_fire: bool
    """Whether a current can reach the threshold at all. A sub-network that has not earned its pass never fires."""
    otherwise: RankedLabel | None
    """The answer were it silent instead of functional, or functional instead of silent.

    Null of a synapse that can never fire, and of silent ones beyond the eight with the highest currents.
    """
    score_otherwise: float | None
    """Of the class that was answered, likewise."""


class HeadAccount(TypedDict):
    """One of the classifiers that answer together, before any sub-network is asked."""

    name: str
    share: float
    """How much it counts in the mixture; the shares add up to 1."""
    label: str
    """What it would answer alone."""
    score: float
    of_answer: float
    """What it gives the class that was answered."""


class StoredAnswer(TypedDict):
    """What the stored prediction says of the image."""

    label: str
    score: float


class Account(TypedDict):
    """Why an image is answered as it is, by the version that answered it."""

    learner: str
    version: int
    live_version: int
    """Another one may answer by now."""
    prediction: str | None
    """Id of the stored prediction; null for a posted image."""
    index: int
    label: str
    score: float
    known: bool
    novelty: float
    """Share of known images that look more familiar."""
    novelty_threshold: float
    """Novelty above which an image counts as not known."""
    min_score: float
    """What the class counts as known from, as it is set now; 0 where nothing is."""
    top: list[RankedLabel]
    passes: int
    """Forwards of the backbone."""
    functional: RankedLabel
    """What the functional sub-network alone answers: no synapse has fired."""
    synapses: list[SynapseAccount]
    heads: list[HeadAccount]
    """Empty where one classifier answers."""
    stored: StoredAnswer | None
    """Null for a posted image. Its score is the same but for rounding, unless classes were hidden since."""
    sentences: NotRequired[list[str]]
    """All of it in plain words."""


class Heat(TypedDict):
    """Which places of an image speak for its answer."""

    learner: str
    version: int
    prediction: str
    index: int
    label: str
    """What was answered."""
    score: float
    least_score: float
    """What is left of the score where the place that matters most is covered."""
    cells: list[list[float]]
    """Row by row from the top of the square that the learner looks at, the middle of the image: the mean loss of log
    odds while a cell is covered.

    Below 0 it speaks against the answer.
    """
    sentence: str
    """The same in plain words."""


class ScoredClass(TypedDict):
    """A class and its calibrated probability."""

    label: str
    score: float


class ReviewImage(TypedDict):
    """A kept image."""

    prediction: str
    """Id of the prediction."""
    index: int
    """Of the result."""


class ReviewItem(TypedDict):
    """Images that one word settles, and the one that stands for all of them."""

    prediction: str
    """Id of the prediction whose image stands for all."""
    index: int
    """Of its result."""
    why: str
    """Why a word about it is useful: it looks like nothing known (`unknown`), its class needs a higher score
    (`below`), versions disagree (`versions`), a sub-network changed the answer (`synapse`), two classes are close
    (`between`), or the score is low (`unsure`).

    `sure` is none of these.
    """
    detail: str
    """The same in a few words, with the classes."""
    usefulness: float
    """How useful a word about it is, in `[0, 1]`; from 0.5 on it is worth a look."""
    label: str
    """What was answered."""
    score: float
    novelty: float
    known: bool
    """False if it looks like none of the classes."""
    top: list[ScoredClass]
    """The best classes, five at most."""
    version: int
    """Which answered it last."""
    filename: str | None
    duplicates: int
    """Near-duplicates of it among `images`."""
    cluster: bool
    """Whether others among `images` look like it without being near-duplicates."""
    images: list[ReviewImage]
    """All of them, this one first."""
    created_at: str
    """When it was answered first."""


class ReviewAct(TypedDict):
    """What an act has settled, or taken back."""

    id: str
    """Takes it back."""
    images: int
    """How many images it settled, or lets wait again."""
    left_out: int
    """How many were named that do not wait: they are settled already, gone, or of another learner."""
    waiting: int
    """How many images worth a look wait now; 10,000 may be more."""


class JobImages(TypedDict):
    """How many images a job has, and what they came to so far."""

    total: int
    done: int
    """Those that have an answer or a problem."""
    problems: int
    """Those that could not be predicted."""
    unknown: int
    """Those that look like no known class."""
    changed: int
    """Those that are answered otherwise than before, or than they are labelled."""


class LabelCount(TypedDict):
    """How many images were answered with a label."""

    label: str
    images: int


class JobError(TypedDict):
    """Why a job failed."""

    code: str
    detail: str


class PredictionJob(TypedDict):
    """Many images that one version predicts, behind all requests."""

    id: str
    learner: str
    version: int
    """That answers all of the images."""
    source: str
    """`upload`: sent with the job; `predictions`: kept with predictions; `samples`: of tasks."""
    query: dict[str, Any]
    """Which stored images were asked for."""
    status: str
    images: JobImages
    labels: list[LabelCount]
    """Most frequent first."""
    eta_seconds: float | None
    """Until it is done, as far as can be told from how fast it went; null when it has ended, or not begun."""
    error: JobError | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class AnsweredBefore(TypedDict):
    """What was said about a stored image before."""

    label: NotRequired[str | None]
    """Answered, or taught."""
    score: NotRequired[float | None]
    known: NotRequired[bool | None]
    version: NotRequired[int | None]
    """That answered; null for what was taught."""


class JobResult(TypedDict):
    """What an image of a job came to; `problem` instead of an answer when it could not be predicted."""

    index: int
    name: str
    """What it was called in the upload; of a stored image its file's name, or its id."""
    prediction: NotRequired[str | None]
    """Id of the prediction that it was kept with."""
    prediction_index: NotRequired[int | None]
    """Of that prediction's result."""
    sample: NotRequired[str | None]
    """Id of the sample that it is of."""
    label: NotRequired[str | None]
    score: NotRequired[float | None]
    task: NotRequired[int | None]
    novelty: NotRequired[float | None]
    """Share of held-out known images that look more familiar than this one."""
    known: NotRequired[bool | None]
    """False when the image looks like none of the classes."""
    top: NotRequired[list[RankedLabel]]
    route: NotRequired[Route | None]
    warnings: NotRequired[list[str]]
    """As those of predictions."""
    before: NotRequired[AnsweredBefore | None]
    """Of a stored image: what was answered, or taught."""
    changed: NotRequired[bool | None]
    """Whether the answer differs from that."""
    problem: NotRequired[ImageProblem | None]


class AccuracyMeasures(TypedDict):
    """How sure the accuracies of a history are, each in its place; null where it was not measured."""

    matrix: list[list[Measure | None]]
    last: Measure | None
    average: Measure | None
    forgetting: Measure | None
    """It and `backward_transfer` lie within their uncertainty where 0 lies between `low` and `high`."""
    backward_transfer: Measure | None
    plasticity: list[Measure | None]
    stability: list[Measure | None]


class AccuracyHistory(TypedDict):
    """How well every task was known after every task; row i of `matrix` is version i."""

    learner: str
    version: int
    """The last of `versions`, to which it all leads; 0 before the first."""
    live_version: int
    """Version that answers predictions, which after a rollback may be another one; 0 before the first."""
    tasks: list[int]
    versions: list[int]
    matrix: list[list[float | None]]
    """Row v, column t: accuracy on task t with version v; null where it was not evaluated."""
    n: list[list[int | None]]
    """Images it was measured on, in the same places."""
    last: float | None
    """Accuracy on all images of what `version` knows, with it."""
    average: float | None
    forgetting: float | None
    backward_transfer: float | None
    plasticity: list[float | None]
    stability: list[float | None]
    routing: list[float | None]
    passes: list[float | None]
    unlearned: list[int]
    """Those of `tasks` that `version` no longer knows."""
    superseded: list[int]
    """Tasks that a rollback left beside the line of versions that leads to the head."""
    measures: NotRequired[AccuracyMeasures | None]
    """How sure each of these accuracies is; null from a service that does not tell."""


class Version(TypedDict):
    """An immutable snapshot of a learner."""

    number: int
    parent: int | None
    task: int
    """Index of the task that made it; below 0 it was a consolidation."""
    task_id: str
    tasks: list[int]
    """Indexes of the tasks it knows something of."""
    stage: str
    """`learned`: its classes are answered. `consolidated`: its images have also shaped the features."""
    unconsolidated: list[int]
    """Indexes of those of its tasks that wait for a consolidation."""
    config: dict[str, Any]
    seed: int
    backbone_fingerprint: str
    artifact_sha256: str | None
    """Null once it was erased."""
    size_bytes: int
    classes: list[str]
    metrics: dict[str, Any]
    code_versions: dict[str, Any]
    is_live: bool
    erased_at: str | None
    """When its artifact was given up, because it held what was unlearned since."""
    created_at: str


class ConfusedPair(TypedDict):
    """Images of one class that were answered as another."""

    true: str
    """The class they were taught as."""
    answered: str
    n: int
    """Images that were held out, or left out in turn."""
    share: Measure | None
    """Of the images of the true class; null where none was measured."""
    n_said: int
    """Images of predictions by this version that people said show the true class."""


class ConfusedPairs(TypedDict):
    """The pairs of classes that a version confuses, the most images first."""

    learner: str
    version: int
    n: int
    """Images that it was measured on."""
    n_pairs: int
    """Pairs that it confuses; `pairs` may be cut short."""
    pairs: list[ConfusedPair]


class DriftDay(TypedDict):
    """What was answered on one day, in UTC. Of each request the first image counts."""

    day: str
    n: int
    """Requests."""
    unknown: float | None
    """Share that looks like no known class; null of no request."""
    score: float | None
    """Mean score of the best class."""
    novelty: list[float]
    """Novelty below which a quarter, a half and three quarters are, to 0.01; empty of no request."""
    classes: dict[str, float]
    """Share of each class that was answered, as it is called now; those answered most, ten at most."""


class DriftChange(TypedDict):
    """Something that is different in the last days, by more than chance explains."""

    kind: str
    since: str
    """First day of those that are different."""
    days: int
    """Whole days that are compared with the 21 before them."""
    label: str | None
    """Of `classes` the class whose share changed most; null else."""
    before: float
    """Share of unknown images, median novelty, or share of the class."""
    now: float
    n_before: int
    """Requests."""
    n_now: int
    chance: float
    """How likely chance alone does as much."""
    new_version: bool
    """Whether versions answered that did not before: they may be why."""
    sentence: str


class Drift(TypedDict):
    """Whether the images that a learner is asked about look different than before."""

    learner: str
    today: str
    """In UTC. It is not over, so it is shown and not compared."""
    days: list[DriftDay]
    """The last 28 days and today, oldest first; of days without a stored prediction `n` is 0."""
    reference: DriftDay | None
    """The 21 days before the last seven together, with the first of them; null if nothing is stored of them."""
    changes: list[DriftChange]
    """The surest first; empty where nothing is different, or too little is stored to tell."""


class ConfusedImage(TypedDict):
    """An image of the true class, as the version answers it."""

    sample: str
    """Id of the image."""
    task: int
    filename: str | None
    score: float
    novelty: float | None
    """Null of an image that was left out in turn."""


class SaidImage(TypedDict):
    """An image of a prediction that a person said a word about."""

    prediction: str
    index: int
    score: float


class ConfusedImages(TypedDict):
    """The images behind one cell: taught, or named by a person, as one class, and answered as another."""

    learner: str
    version: int
    true: str
    answered: str
    counted: int
    """When the version was measured, images that were left out in turn too."""
    n_left_out: int
    """Images of the true class that were counted by leaving them out in turn, whatever they were answered as."""
    images: list[ConfusedImage]
    """Held-out ones."""
    left_out: list[ConfusedImage]
    """Images that are learned from, each answered by what was learned from the others: now that the version knows
    them it answers them otherwise.
    """
    is_whole: bool
    """Whether all held-out images of the true class were asked; of very many, or of those that have to be looked at
    again, only some are.
    """
    said: list[SaidImage]


class Confusion(TypedDict):
    """What a version took held-out images for: counts by task, true label and answered label."""

    learner: str
    version: int
    classes: list[str]
    confusion: dict[str, dict[str, dict[str, int]]]
    """By task index, true label and answered label."""


class KeyQuotas(TypedDict):
    """Where the limits of a key differ from those of the service."""

    predict_images_per_minute: NotRequired[int | None]
    changes_per_minute: NotRequired[int | None]
    tasks_per_day: NotRequired[int | None]
    images_per_day: NotRequired[int | None]


class KeyDay(TypedDict):
    """What was posted with a key within 24 hours, and how much may be."""

    tasks: int
    images: int
    most_tasks: int | None
    """Null is no limit."""
    most_images: int | None
    """Null is no limit."""


class Key(TypedDict):
    """An API key."""

    id: str
    name: str
    role: str
    learners: list[str] | None
    """The only learners it may see and use, without those deleted since; null is all of them."""
    quotas: dict[str, int | None]
    """Where its limits differ from those in `/v1/info`; null is no limit."""
    day: KeyDay
    expires_at: str | None
    last_used_at: str | None
    """To a minute or two."""
    created_at: str
    revoked_at: str | None
    key: NotRequired[str | None]
    """The whole secret, shown once: when it is created; None where that answer is replayed."""


class SubscriptionRule(TypedDict):
    """What of its events a subscription wants: what is left out does not matter."""

    labels: NotRequired[list[str]]
    """Of `prediction.made`: answers with one of these classes."""
    min_score: NotRequired[float | None]
    """Of `prediction.made`: answers with at least this score."""
    max_score: NotRequired[float | None]
    """Of `prediction.made`: answers with a score below this."""
    known: NotRequired[bool | None]
    """Of `prediction.made`: `false` for answers that look like no class."""
    disagrees: NotRequired[bool]
    """Of `prediction.made`: only answers that would have been another class without the sub-network."""
    statuses: NotRequired[list[str]]
    """Of `task.ended`: only tasks that ended so."""
    min_drop: NotRequired[float]
    """Of `accuracy.dropped`: by how much, from 0 to 1, the accuracy of a task or class is below that of the version
    before.

    What the intervals of both explain is never told of.
    """
    min_images: NotRequired[int]
    """Of `unknown.found`: how many images wait that look alike and like no class."""


class Subscription(TypedDict):
    """Who is told of what happens, and of what."""

    id: str
    name: str
    target: str
    events: list[str]
    learner: str | None
    rule: SubscriptionRule
    enabled: bool
    disabled_reason: str | None
    """Why nothing is sent, in a sentence; null while it is."""
    disabled_at: str | None
    failing_since: str | None
    """Since when no try has gone well; null if the last one has."""
    messages: dict[str, int]
    """Messages that are kept, by their status."""
    n_dropped: int
    """Messages that were not kept because too many waited."""
    created_at: str
    secret: NotRequired[str | None]
    """What its messages are signed with, shown once: when it is created; None where that is replayed."""


class MessageTry(TypedDict):
    """What came of one try to send a message."""

    at: str
    status_code: int | None
    """What the receiver answered; null if it did not, and of MQTT."""
    duration_ms: int
    error: str | None
    """What went wrong, in a sentence; null if it was delivered."""


class Message(TypedDict):
    """A message to a subscriber."""

    id: str
    """The receiver's `webhook-id`: the same in each try."""
    event: str
    status: str
    data: dict[str, Any]
    tries: list[MessageTry]
    """The last 20, oldest first."""
    next_try_at: str | None
    """Null if there will be none."""
    created_at: str
    finished_at: str | None


class LoginLink(TypedDict):
    """A link that logs a browser in, once."""

    path: str
    """To be opened at the address of the service; its token is a secret until it is used."""
    expires_at: str


class AuditEntry(TypedDict):
    """Something that somebody has changed."""

    seq: int
    """Entries are numbered in the order they were written, with gaps."""
    created_at: str
    key_id: str | None
    """Null for what the command line did on the machine itself."""
    key_name: str
    """As it was then; `local` for the command line."""
    action: str
    """What was done, such as `learner.delete`."""
    learner: str | None
    """The learner it was done to, which may be gone."""
    subject: str
    """What it was done to: a name or an id."""
    details: dict[str, Any]
    """What changed; `before` and `after` where there was something before."""
    request_id: str | None
    """`X-Request-Id` of the answer."""


class HeldTask(TypedDict):
    """A task that a worker is learning."""

    id: str
    learner: str
    index: int
    phase: str
    fraction: float
    attempt: int


class Worker(TypedDict):
    """A worker that was seen within a day."""

    id: str
    kind: str
    """`local` polls the database, `celery` waits for the doorbell."""
    state: str
    """`lost`: no sign of life for 30 s, and it did not say goodbye."""
    host: str
    pid: int
    device: str
    """Name of the GPU it learns on, or `cpu`."""
    slots: int
    """Tasks it learns at the same time."""
    version: str
    learning: list[HeldTask]
    started_at: str
    seen_at: str
    stopped_at: str | None


class LoadedVersion(TypedDict):
    """A version that answers predictions now."""

    learner: str
    version: int


class Part(TypedDict):
    """A thread of the service that has to run all the time."""

    name: str
    state: str
    """`failing`: an error broke its work off, which begins again within seconds. `down`: it does not run."""
    failures: int
    """How often that has happened since the service was started."""


class Readiness(TypedDict):
    """Whether predictions are answered, and by what."""

    status: str
    database: str
    doorbell: str
    """Whether Redis answers, through which workers hear of tasks; `none` where workers poll the database."""
    loaded: list[LoadedVersion]
    failing: list[LoadedVersion]
    """Live versions that could not be loaded; the ones before go on serving."""
    worker: str
    """Whether somebody learns what is queued: the worker that the service starts, or else any.

    `refused`: it cannot work with its settings, and is not tried again before the service is restarted.
    `unknown`: the database is away.
    """
    worker_refusal: str | None
    """Why it is `refused`; for admin keys, null for others."""
    worker_restarts: int
    """How often the worker that the service starts has died and was started again."""
    parts: list[Part]
    log_lines_dropped: int
    """Lines of the service's log that could not be written since it was started."""


class HealthFinding(TypedDict):
    """Something that needs a person."""

    code: str
    """What kind of thing: `worker`, `part`, `version-not-loaded`, `disk-full`, `forgotten`, `tasks-failed`, `queue-
    slow`, `workers-lost`, `workers-other-release`, `backup-old`, `disk-filling`, `answers-not-kept` or `tasks-
    held`; a later release may know more.
    """
    severity: str
    """`broken`: something does not work now. `warning`: see to it. `decision`: something waits for your word."""
    learner: str | None
    """Null where it is of the whole installation."""
    sentence: str
    """What is wrong."""
    next_step: str
    """What to do about it."""


class Health(TypedDict):
    """Whether anything is wrong, and what to do next."""

    checked_at: str
    is_well: bool
    sentence: str
    """The whole in one sentence."""
    findings: list[HealthFinding]
    """Worst first."""


class Limits(TypedDict):
    """What a request may hold."""

    task_images: int
    task_bytes: int
    task_json_bytes: int
    image_bytes: int
    image_pixels: int
    predict_images: int
    predict_bytes: int
    predict_pixels: int
    """Work that decoding the images of a request may take, in pixels of PNG: `docs/photos.md` has the factors."""
    json_bytes: int
    bundle_bytes: int
    min_images: int
    classes: int | None
    """Of one learner; null is any number."""
    predict_images_per_minute: int | None
    """With one key; null is any number, and a key may have a limit of its own. So are the next three."""
    changes_per_minute: int | None
    tasks_per_day: int | None
    images_per_day: int | None
    predict_pixels_per_minute: int | None
    """With one key, as `predict_pixels`; null is any number."""
    image_formats: list[str]
    keep_prediction_images: bool
    """Whether the images of stored predictions are kept, for feedback."""
    keep_predictions_days: int
    """Days until a stored prediction is deleted, unless feedback on it is still to be learned; 0 is never."""


class Info(TypedDict):
    """The service, to anyone who asks."""

    name: str
    version: str
    api: str
    device: str
    limits: Limits

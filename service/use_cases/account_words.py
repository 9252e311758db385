"""Why an image is answered as it is, in plain words."""

from collections.abc import Sequence

from service.schemas.accounts import AccountRead, HeadAccount, SynapseAccount

FEW_POINTS = 0.005
"""A score that moves less than this is said to stay."""
SHOWN_HEADS = 3


def sentences_of(account: AccountRead) -> list[str]:
    """Return what decided the answer, the most important first."""
    said = [_answer(account)]
    said += _route(account)
    if account.heads:
        said.append(_heads(account.heads, account.functional.label))
    said.append(_novelty(account))
    if account.min_score:
        said.append(_min_score(account))
    return said


def _answer(account: AccountRead) -> str:
    answer = f"Version {account.version} answers {account.label} with {percent(account.score)}"
    if len(account.top) < 2:
        return f"{answer}."
    second = account.top[1]
    return f"{answer}; next is {second.label} with {percent(second.score)}."


def _route(account: AccountRead) -> list[str]:
    if not account.synapses:
        return ["This strategy has no synapses: every image takes the one shared network."]
    fired = [synapse for synapse in account.synapses if synapse.state == "functional"]
    if not fired:
        quiet = "No synapse fired: the answer comes from the functional sub-network alone."
        turned = [s for s in account.synapses if s.otherwise and s.otherwise.label != account.label]
        return [quiet, *(_would(synapse, account) for synapse in turned)]
    one = "the synapse" if len(fired) == 1 else "the synapses"
    tasks = _listed([f"task {synapse.task}" for synapse in fired])
    alone = account.functional
    said = [f"{one.capitalize()} of {tasks} fired."]
    if alone.label == account.label:
        said.append(
            f"The functional sub-network alone would answer {alone.label} too, with {percent(alone.score)}."
        )
    else:
        said.append(
            f"The functional sub-network alone would answer {alone.label}, with {percent(alone.score)}."
        )
    return said + ([_would(synapse, account) for synapse in fired] if len(fired) > 1 else [])


def _would(synapse: SynapseAccount, account: AccountRead) -> str:
    assert synapse.otherwise is not None
    assert synapse.score_otherwise is not None
    condition = "Without" if synapse.state == "functional" else "With"
    where = f"{condition} the sub-network of task {synapse.task}"
    if synapse.otherwise.label != account.label:
        other = synapse.otherwise
        return f"{where} the answer would be {other.label}, with {percent(other.score)}."
    if abs(synapse.score_otherwise - account.score) < FEW_POINTS:
        return f"{where} the answer would stay the same."
    return (
        f"{where} the answer would stay {account.label}, with {percent(synapse.score_otherwise)}."
    )


def _heads(heads: Sequence[HeadAccount], label: str) -> str:
    agreeing = sum(head.share for head in heads if head.label == label)
    n = f"{len(heads)} classifiers" if len(heads) > 1 else "One classifier"
    if agreeing > 1 - FEW_POINTS:
        return f"{n} answer{'' if len(heads) > 1 else 's'} that: all agree on {label}."
    others = [head for head in heads if head.label != label][:SHOWN_HEADS]
    against = _listed([f"{head.name} ({percent(head.share)}) says {head.label}" for head in others])
    return f"{n} answer together. {percent(agreeing)} of their weight says {label}; {against}."


def _novelty(account: AccountRead) -> str:
    familiar = f"{percent(account.novelty)} of the known images look more familiar than this one"
    limit = percent(account.novelty_threshold)
    if account.novelty > account.novelty_threshold:
        return f"It counts as not known: {familiar}, which is more than {limit}."
    return f"It looks like something known: {familiar}, and only above {limit} it would count as not known."


def _min_score(account: AccountRead) -> str:
    least = percent(account.min_score)
    if account.score < account.min_score:
        return f"{account.label} counts as known from {least} on, and this is below."
    return f"{account.label} counts as known from {least} on, which this reaches."


def percent(value: float) -> str:
    """Return a share in words.

    Example:
        >>> percent(0.5451), percent(1.0)
        ('54.5%', '100%')
    """
    shown = f"{100 * value:.1f}".removesuffix(".0")
    return f"{shown}%"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""Schemas of accuracies with what they rest on."""

from collections.abc import Sequence
from typing import Self

from registry.accuracy import Measures
from registry.measures import Measure, MeasuredBy
from service.schemas.base import ReadSchema


class MeasureRead(ReadSchema):
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
    measured_by: MeasuredBy
    """Whether the images were held out, left out in turn (`cross_validated`), or some of each."""
    too_few: bool
    """Whether there are too few images to tell: the interval is wider than 40 points."""

    @classmethod
    def of(cls, measure: Measure | None) -> Self | None:
        """Return what is read of a measure; None of none."""
        if measure is None:
            return None
        return cls(
            value=measure.value,
            low=measure.low,
            high=measure.high,
            n=measure.n,
            n_cross_validated=measure.n_cross_validated,
            measured_by=measure.measured_by,
            too_few=measure.is_too_few,
        )


class LearnerMeasures(ReadSchema):
    """How sure the accuracies of the live version are; null where nothing was measured."""

    last: MeasureRead | None
    average: MeasureRead | None
    forgetting: MeasureRead | None

    @classmethod
    def of(cls, measures: Measures) -> Self:
        """Return what is read of the measures of a history."""
        return cls(
            last=MeasureRead.of(measures.last),
            average=MeasureRead.of(measures.average),
            forgetting=MeasureRead.of(measures.forgetting),
        )


class AccuracyMeasures(ReadSchema):
    """How sure the accuracies of a history are, each in its place; null where it was not measured."""

    matrix: list[list[MeasureRead | None]]
    last: MeasureRead | None
    average: MeasureRead | None
    forgetting: MeasureRead | None
    """It and `backward_transfer` lie within their uncertainty where 0 lies between `low` and `high`."""
    backward_transfer: MeasureRead | None
    plasticity: list[MeasureRead | None]
    stability: list[MeasureRead | None]

    @classmethod
    def of(cls, measures: Measures) -> Self:
        """Return what is read of the measures of a history."""
        return cls(
            matrix=[_each(row) for row in measures.matrix],
            last=MeasureRead.of(measures.last),
            average=MeasureRead.of(measures.average),
            forgetting=MeasureRead.of(measures.forgetting),
            backward_transfer=MeasureRead.of(measures.backward_transfer),
            plasticity=_each(measures.plasticity),
            stability=_each(measures.stability),
        )


def _each(measures: Sequence[Measure | None]) -> list[MeasureRead | None]:
    return [MeasureRead.of(measure) for measure in measures]

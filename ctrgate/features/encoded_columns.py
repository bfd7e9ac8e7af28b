"""The encoded columns that a feature gives, as the layout lists them."""

from __future__ import annotations

from ctrgate.features.kinds import (
    Bag,
    Bucketized,
    Categorical,
    CategoricalMember,
    Cross,
    Feature,
    Numeric,
    SequenceFeature,
    Vector,
    WeightedBag,
)
from ctrgate.features.layout import Field, Member, SequenceGroup

__all__ = ["fields_of", "group_of"]


def fields_of(feature: Feature) -> list[Field]:
    """A feature's fields, in the order of its encoded columns; a sequence has none, it is a group.

    Example:
        >>> [field.name for field in fields_of(Numeric(name="price", indicator=True))]
        ['price', 'price:missing']
    """
    name = feature.name
    if isinstance(feature, Numeric):
        names = [name, f"{name}:missing"] if feature.indicator else [name]
        return [Field(name=each, kind="number") for each in names]
    if isinstance(feature, Categorical | Cross):
        return [Field(name=name, kind="id", table=feature.table)]
    if isinstance(feature, Bucketized):
        return [Field(name=name, kind="id", table=name)]
    if isinstance(feature, Bag | WeightedBag):
        return [Field(name=name, kind=feature.kind, table=feature.table, pooling=feature.pooling)]
    if isinstance(feature, Vector):
        return [Field(name=name, kind="vector", width=feature.width)]
    return []


def group_of(feature: SequenceFeature) -> SequenceGroup:
    """A sequence with its members' encoded columns and tables."""
    members = []
    for member in feature.members:
        table = feature.member_table(member) if isinstance(member, CategoricalMember) else ""
        members.append(Member(name=member.name, column=feature.encoded_column(member), table=table))
    return SequenceGroup(name=feature.name, members=tuple(members), max_length=feature.max_length)

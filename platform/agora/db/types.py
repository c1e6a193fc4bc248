"""Column types and the two declarative bases."""

from datetime import datetime
from typing import Annotated

from sqlalchemy import DateTime, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}

IdText = Text(collation="C")
"""Ids sort byte by byte, whatever the database's locale: their order is their time."""

Id = Annotated[str, mapped_column(IdText)]
TimestampTZ = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    """Tables of the main database."""

    metadata = MetaData(naming_convention=NAMES)


class AuthBase(DeclarativeBase):
    """Tables of the auth database."""

    metadata = MetaData(naming_convention=NAMES)

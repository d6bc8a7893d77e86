"""Types of the client's arguments."""

from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID

#: A UUID or an alias.
Id: TypeAlias = str | UUID
Json: TypeAlias = Mapping[str, Any]

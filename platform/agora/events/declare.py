"""How a type of event is declared: its data as a model, of which the JSON Schema of its payload is made.

A payload is what a webhook's body is: ``{"type", "timestamp", "data"}``, as Standard Webhooks 1.0.0 has it. Schemas are
of JSON Schema draft 2020-12.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MOMENT: Final = "2026-11-23T21:30:37.123Z"
"""When everything happened that examples tell of."""
NAME: Final = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
"""What agents may call their own events, behind ``agent.``."""

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""An RFC 3339 time as text."""
Metadata = Annotated[dict[str, Any], Field(default_factory=dict, description="what whoever made it noted on it")]
Agent = Annotated[str, Field(description="the name of the agent")]
Action = Annotated[str, Field(description="the agent's action")]
Step = Annotated[str, Field(description="the step's name")]
JobId = Annotated[str, Field(pattern=r"^job_[0-9a-z]{26}$", description="the job")]


class Data(BaseModel):
    """A part of what an event says. A field with the default None is left out when it has no value, never null."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Links(Data):
    """Paths of the API."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    self: str = Field(description="what the event is about, as it is now")


class EventData(Data):
    """What every event may say."""

    truncated: list[str] | None = Field(
        None, description="fields that were left out because the payload would be too large: follow links.self for them"
    )


@dataclass(frozen=True, kw_only=True)
class EventType:
    """One type of event. ``example`` is its data; the first paragraph of ``model`` says when it happens."""

    name: str
    model: type[EventData]
    example: Mapping[str, Any]
    version: int = 1
    of_job: bool = False
    """It belongs to one job, and is in that job's stream."""
    ends_job: bool = False
    """It is the last one of its job's stream."""
    by_wildcard: bool = True
    """Whether ``*`` and ``job.*`` cover it; if not, a filter must name it in full."""

    @property
    def is_family(self) -> bool:
        """Whether it stands for all types with this beginning."""
        return self.name.endswith(".*")

    @property
    def category(self) -> str:
        """What it is about: the first part of its name."""
        return self.name.partition(".")[0]

    @property
    def description(self) -> str:
        """When it happens."""
        return " ".join((self.model.__doc__ or "").strip().split("\n\n")[0].split())

    @property
    def payload(self) -> dict[str, Any]:
        """The example as it is sent."""
        kind = self.name.replace("*", "noted")
        return {"type": kind, "timestamp": MOMENT, "data": dict(self.example)}

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its payload."""
        data = self.model.model_json_schema(schema_generator=_Schema)
        definitions = data.pop("$defs", {})
        data["properties"]["truncated"] = data["properties"].pop("truncated")  # what all have comes last
        kind: dict[str, Any] = {"const": self.name}
        if self.is_family:
            kind = {
                "description": "chosen by the agent",
                "type": "string",
                "pattern": f"^{self.name.removesuffix('*').replace('.', '[.]')}{NAME}$",
            }
        return {
            "$schema": DIALECT,
            "title": self.name,
            "description": self.description,
            "type": "object",
            "properties": {
                "type": kind,
                "timestamp": {"type": "string", "format": "date-time", "description": "when it happened"},
                "data": data,
            },
            "required": ["type", "timestamp", "data"],
            "additionalProperties": False,
            "$defs": definitions,
        }


class _Schema(GenerateJsonSchema):
    """Schemas without repeated titles, in which a field that has no value is left out and not null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = schema["schema"]
        if inner["type"] == "nullable" and schema.get("default", ...) is None:
            return self.generate_inner(inner["schema"])
        return {name: value for name, value in super().default_schema(schema).items() if name != "default"}

"""The catalogue of agents."""

import marshmallow as ma

from api.schemas.common import Moment, Schema


class AgentActionOut(Schema):
    """A registered version of an action."""

    agent = ma.fields.String()
    action = ma.fields.String()
    version = ma.fields.Integer()
    description = ma.fields.String()
    agent_description = ma.fields.String()
    steps = ma.fields.List(ma.fields.Dict())
    input_schema = ma.fields.Dict()
    output_schema = ma.fields.Dict()
    registered_at = Moment()
    live_workers = ma.fields.Integer(metadata={"description": "living workers on any queue of its steps"})
    workers = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.Integer(),
        metadata={"description": "living workers on each queue of its steps"},
    )


class AgentsOut(Schema):
    """Every registered action version."""

    items = ma.fields.List(ma.fields.Nested(AgentActionOut))

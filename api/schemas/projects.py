"""Projects, what is in them, and with whom they are shared."""

import marshmallow as ma

from agora.projects.access import SHARED, Access
from agora.projects.states import ConflictState, Phase, ProjectState, SpecificationState
from api.schemas.common import Moment, Schema, page_of

ACCESS = ma.validate.OneOf(list(Access))
SHARE = ma.validate.OneOf(list(SHARED))
PHASE = ma.validate.OneOf(list(Phase))
TEXT = ma.validate.Length(1, 10_000)
DECIDED = ma.validate.OneOf([ConflictState.RESOLVED, ConflictState.IGNORED])


class ProjectOut(Schema):
    """A project."""

    id = ma.fields.String()
    name = ma.fields.String()
    status = ma.fields.String(validate=ma.validate.OneOf(list(ProjectState)))
    phase = ma.fields.String(validate=PHASE)
    maturity = ma.fields.Float(metadata={"description": "0 to 100"})
    coverage = ma.fields.Float(metadata={"description": "0 to 1"})
    team_id = ma.fields.String(metadata={"description": "the team that it belongs to"})
    access = ma.fields.String(validate=ACCESS, metadata={"description": "what the caller's team may do with it"})
    created_at = Moment()


class ProjectDetailOut(ProjectOut):
    """A project, with counts of what is in it."""

    specifications = ma.fields.Integer(metadata={"description": "current ones"})
    conflicts = ma.fields.Integer(metadata={"description": "open ones"})


class ProjectPatch(Schema):
    """What to change; a phase is left for the next one, or for any earlier one."""

    name = ma.fields.String(validate=ma.validate.Length(1, 200))
    phase = ma.fields.String(validate=PHASE)


class SpecificationOut(Schema):
    """A current specification."""

    id = ma.fields.String()
    category = ma.fields.String()
    key = ma.fields.String()
    value = ma.fields.String()
    content = ma.fields.String()
    confidence = ma.fields.Float()
    reasoning = ma.fields.String()
    analyst = ma.fields.String()
    source = ma.fields.Dict(keys=ma.fields.String())
    status = ma.fields.String(validate=ma.validate.OneOf(list(SpecificationState)))
    created_at = Moment()


class SpecificationsOut(Schema):
    """The current specifications of a project, in the order in which they came to be."""

    items = ma.fields.List(ma.fields.Nested(SpecificationOut))


class SpecificationPatch(Schema):
    """What to change. Another value makes a new specification, which supersedes this one."""

    value = ma.fields.String(validate=TEXT)
    content = ma.fields.String(validate=TEXT)
    confidence = ma.fields.Float(validate=ma.validate.Range(0, 1))
    reasoning = ma.fields.String(validate=TEXT)


class ConflictOut(Schema):
    """Two statements that cannot both hold."""

    id = ma.fields.String()
    kind = ma.fields.String()
    subject = ma.fields.String()
    severity = ma.fields.String()
    left = ma.fields.Dict(keys=ma.fields.String())
    right = ma.fields.Dict(keys=ma.fields.String())
    explanation = ma.fields.String()
    created_at = Moment()


class ConflictsOut(Schema):
    """The open conflicts of a project."""

    items = ma.fields.List(ma.fields.Nested(ConflictOut))


class DecisionIn(Schema):
    """What somebody has decided about a conflict."""

    status = ma.fields.String(load_default=ConflictState.RESOLVED, validate=DECIDED)


class ShareIn(Schema):
    """With which team to share, and how."""

    team_id = ma.fields.String(required=True, validate=ma.validate.Length(1, 100))
    access = ma.fields.String(required=True, validate=SHARE)


class SharePut(Schema):
    """How to share with a team."""

    access = ma.fields.String(required=True, validate=SHARE)


class ShareOut(Schema):
    """A project is shared with a team."""

    project_id = ma.fields.String()
    team_id = ma.fields.String(metadata={"description": "with whom"})
    access = ma.fields.String(validate=SHARE)
    created_by = ma.fields.String(metadata={"description": "a key or a user of the team that it belongs to"})
    created_at = Moment()


class SharesOut(Schema):
    """The shares of a project, the first one first."""

    items = ma.fields.List(ma.fields.Nested(ShareOut))


ProjectPage = page_of(ProjectOut, "ProjectPage")

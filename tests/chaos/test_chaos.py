"""A bounded mix of every fault, and the judge judged: what an engine without its guards does must be found.

``CHAOS_SEED`` runs another mix; ``make chaos`` runs the long one.
"""

import os
from dataclasses import replace

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.figures import resumptions
from tests.chaos.run import Options, run
from tests.chaos.scale import SHORT

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

SEED = int(os.environ.get("CHAOS_SEED", "20"))
HASTY = replace(SHORT, settle=10)
"""What never ends is not waited for long."""
ZOMBIES = replace(HASTY, slow=0.8, tails=1.0, deaf=1.0)
"""A process that is frozen is most likely in a step that records when it comes back, before its job has ended."""


def test_every_fault_in_a_mix(tmp_path):
    options = Options(seed=SEED, jobs=300, faults=len(FAULTS), scale=SHORT)
    result = run(options, tmp_path, say=print)
    assert result.findings == []
    assert len(result.seen.accepted) >= 300
    assert [entry.fault.name for entry in result.seen.log if entry.not_run] == []
    # How soon is a figure of docs/chaos-results.md, from kills that came alone: here other faults hold the work up too.
    assert resumptions(result.seen), "no kill met a step"


@pytest.mark.parametrize(
    ("without", "scale", "faults", "kinds"),
    [
        ("memo,rering", replace(HASTY, slow=0.3), ("messages-lost",), {"paid twice", "stuck"}),
        ("fence", ZOMBIES, ("worker-child-frozen",), {"illegal move"}),
    ],
)
def test_the_judge_finds_what_an_engine_without_its_guards_does(tmp_path, without, scale, faults, kinds):
    options = Options(seed=SEED, jobs=60, faults=4 * len(faults), scale=scale, only=faults, without=without)
    result = run(options, tmp_path, say=print)
    assert kinds <= {finding.kind for finding in result.findings}

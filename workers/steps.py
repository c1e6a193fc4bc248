"""The one task that runs steps, whatever their agent: ``agora.step``."""

from agora.broker import STEP_TASK, app
from workers.flower import begin_turn
from workers.lifecycle import engine


@app.task(name=STEP_TASK, send_events=True)  # sent while Flower listens
def run_step(step_id: str, hops: int = 0) -> str | None:
    """Run one try of a step; returns how it ended, for people who look at Flower. ``hops`` as in ``broker.Ring``."""
    begin_turn()
    return engine().run(step_id, hops=hops)

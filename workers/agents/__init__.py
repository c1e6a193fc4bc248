"""The agents of the product: one file each."""

from workers.agents import conflict_detector, context_analyzer, export, project_manager, quality_controller

AGENTS = (
    project_manager.agent,
    context_analyzer.agent,
    conflict_detector.agent,
    quality_controller.agent,
    export.agent,
)

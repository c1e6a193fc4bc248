"""Reports about a project: Markdown, HTML, JSON, PDF."""

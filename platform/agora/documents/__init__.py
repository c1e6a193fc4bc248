"""Documents: reading text, Markdown, PDF and DOCX, and writing reports."""

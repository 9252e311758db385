"""The sections of the report: each turns one file of results into Markdown and the pictures it shows."""

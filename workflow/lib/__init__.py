"""The rooms of the workflow's code; docs/architecture.md shows which may import which."""

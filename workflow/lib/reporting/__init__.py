"""The records of a study, gathered: tables, figures, statistics."""

"""What a job of the workflow runs: one program each."""

"""Where datasets come from: one module each."""

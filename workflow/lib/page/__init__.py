"""The page of a study for a browser: its results as data, and one file that shows them."""

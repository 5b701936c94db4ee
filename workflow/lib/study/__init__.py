"""The study file: its schema and checks, the grid of cells, and what a job asks a cluster for."""

"""Datasets: which image belongs to which split and class."""

"""Trains heads: all replicas of a cell side by side."""

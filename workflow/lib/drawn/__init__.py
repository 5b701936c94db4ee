"""Drawings: the aircraft of the dataset `planes`, and digits like scikit-learn's."""

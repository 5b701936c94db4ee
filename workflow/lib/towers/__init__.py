"""The frozen towers of a backbone, in the loop of what trains before them."""

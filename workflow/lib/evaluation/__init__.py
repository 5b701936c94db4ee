"""One cell: supports, the fit of a method, the protocol, the scores, the record."""

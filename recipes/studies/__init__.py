"""Studies: comparisons of everything, which make the tables of docs/."""

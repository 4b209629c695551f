"""Domain adaptation: labelled source, unlabelled target."""

"""Features: steps that turn omics tables and drug structures into dense blocks, fitted on training rows only."""

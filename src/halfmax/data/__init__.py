"""Data: where it comes from, what its names mean, and the dataset that everything else works on."""

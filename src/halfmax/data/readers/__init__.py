"""Readers: one file a provider of data."""

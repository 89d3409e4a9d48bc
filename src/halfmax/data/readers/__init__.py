"""Readers: one file a provider, and one for any user's own tables."""

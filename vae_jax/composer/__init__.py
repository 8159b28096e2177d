"""The second stage: writing new pieces."""

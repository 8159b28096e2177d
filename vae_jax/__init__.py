"""Variational autoencoders for scores in JAX; docs/architecture.md has the packages."""

"""Samples, datasets and splits; reading them, describing them, simulating them."""

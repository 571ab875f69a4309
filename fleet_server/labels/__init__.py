"""Samples, their labels, and the dataset versions that are made of them."""

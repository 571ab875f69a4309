"""Rigs: rendered parts, a simulated line camera, and data sets made of them."""

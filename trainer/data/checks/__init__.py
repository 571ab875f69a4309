"""What may be wrong with a dataset version: each check takes the evidence and gives findings."""

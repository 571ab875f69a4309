"""Records of training runs: what went in, how it went, what came out; kept where they cannot be lost."""

"""What crosses the wire or the disk boundary between agent, server, trainer and rigs, and nothing else."""

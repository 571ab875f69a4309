"""The story: a fleet on one machine that inspects, drifts, retrains, rolls out and rolls back.

Everything in it is real: the processes, the broker, the signatures, the models, the database. The
story only starts them, acts as the people would, and afterwards reads what was stored.
"""

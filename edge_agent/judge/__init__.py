"""Who judges the line today, where no bundle does: their verdicts, and which parts they are of."""

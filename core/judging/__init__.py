"""From measurements to verdicts: the algebra of clauses, intervals, claims and their controls."""

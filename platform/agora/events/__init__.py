"""Events: what happened to a job, recorded in the transaction in which it happened."""

"""The audit log: who did what to which object, from where; append-only, chained per team, checkable."""

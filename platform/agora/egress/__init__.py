"""Egress: which addresses outgoing calls to user-given URLs may reach, judged at connect time (against SSRF)."""

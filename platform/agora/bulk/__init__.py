"""Bulk actions: cancel, retry or fork every job that a filter finds, durably, in slices."""

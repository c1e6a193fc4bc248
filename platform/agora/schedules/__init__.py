"""Schedules: jobs that begin at times told beforehand, by cron, at an interval, or once."""

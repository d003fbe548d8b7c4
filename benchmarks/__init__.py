"""Measurements and campaigns that write pages of the documentation; never part of the tests."""

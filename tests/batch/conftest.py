"""Fixtures of the batch tests."""

from tests.support import fakes

fake_workers = fakes.fake_workers

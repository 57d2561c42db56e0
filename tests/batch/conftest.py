"""Fixtures of the batch tests."""

from tests.support import fakes, pipelines

fake_workers = fakes.fake_workers
small_renders, untrained = pipelines.small_renders, pipelines.untrained

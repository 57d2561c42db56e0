"""Fixtures of the pipeline tests."""

from tests.support import pipelines

small_renders, untrained = pipelines.small_renders, pipelines.untrained

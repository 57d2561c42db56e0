"""Types, errors, files, progress and settings: what every part of the package shares."""

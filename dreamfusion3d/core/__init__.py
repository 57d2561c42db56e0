"""Types, errors, files, progress and settings shared by all packages."""

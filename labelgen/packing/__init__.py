"""From a verified build to packages for rpm, and from packages back to the build."""

"""labelgen: SELinux domains for containers, one for each job, verified on the linked policy."""

__version__ = "0.1.0"

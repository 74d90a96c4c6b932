"""The kernel witness: a real Linux kernel, booted as an ordinary process, tries what a policy says."""

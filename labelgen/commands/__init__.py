"""The commands: each parses its options, calls one function of the flow and prints what it returned."""

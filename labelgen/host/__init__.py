"""A host: modules put into its policy and taken out again, and containers started in their role."""

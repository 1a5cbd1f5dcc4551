"""Sources: they bring in the jobs of systems that do not report them."""

"""The whole fault suite; `--full` has it run."""

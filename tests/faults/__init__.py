"""Faults: servers, clients, networks, databases, disks and clocks that fail while jobs are watched."""

"""The process that computes: its clock, threads, memory and streams, and work that is left behind."""

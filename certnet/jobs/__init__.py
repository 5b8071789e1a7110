"""What users ask for: training, an optimality report, a path, an audit; each is a list of stages."""

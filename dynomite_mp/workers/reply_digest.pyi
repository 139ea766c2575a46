"""When two replicas' replies are equal: no Python face."""

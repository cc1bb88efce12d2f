"""Who may ask now: sources, networks, rates, bans, in memory that all workers share."""

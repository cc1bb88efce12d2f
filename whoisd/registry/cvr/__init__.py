"""CVR's own data: what a registrant's company is by the Central Business Register, from the files that it publishes."""

"""One query line to one answer: names, the query, what may be shown, the text. Pure: no clock, no system, no network."""

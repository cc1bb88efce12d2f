"""A WHOIS server (RFC 3912) for the .dk registry. README.md is the front door; its heart is `answers/answer.py`."""

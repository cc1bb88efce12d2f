"""The HTTP server: RESTful WHOIS, RDAP and the page, in processes of their own beside the workers."""

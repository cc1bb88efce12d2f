"""What writes the registry: files of records, loads, the registrar portal, classification, and the count of disclosures."""

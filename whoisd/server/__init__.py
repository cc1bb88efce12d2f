"""The processes that serve: a supervisor, its workers, and an observer; and one connection from accept to close."""

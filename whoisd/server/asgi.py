"""What the observer has of uvicorn: its protocol over httptools, and none of its logs and guesses."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.config import Config

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def config_of(app: Application, keep_alive: float) -> Config:
    """Return uvicorn's configuration for an application; `keep_alive` is in seconds, between two requests."""
    for name in ("uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    application: Any = app
    config = Config(
        application,
        http="httptools",
        ws="none",
        loop="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=max(1, round(keep_alive)),
    )
    config.load()
    return config

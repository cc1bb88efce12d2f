"""The floor of HTTP answers: uvicorn, as the HTTP server uses it, with the same bytes for every request.

`bench/webfloor.py PORT BYTES`
"""

import asyncio
import sys
from typing import Any

import uvicorn
import uvloop


def main() -> None:
    """Serve until told to end."""
    port, size = int(sys.argv[1]), int(sys.argv[2])
    body = b"x" * size
    headers = [(b"content-type", b"application/json"), (b"content-length", str(size).encode())]

    async def answer(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(answer, port=port, http="httptools", loop="none", ws="none", lifespan="off", log_config=None, access_log=False)  # fmt: skip  # noqa: E501 - as in server.http.process
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()

"""Listener: the socket of a service, which can refuse connections for a while and keeps its port."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web


class Listener:
    """
    The listening socket of one service.

    While it is shut, the port is bound without listening: new connections are refused, and no other program
    can take the port.
    """

    def __init__(self, handler: web.Server, host: str) -> None:
        self._handler = handler
        self._host = host
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._opening: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self.port = 0

    async def open(self, port: int) -> None:
        """Listen on a port, 0 for any free one."""
        self._socket = _bound(self._host, port)
        self.port = self._socket.getsockname()[1]
        await self._listen(self._socket)

    async def shut(self, seconds: float) -> None:
        """Refuse connections for a while; no effect if it is shut already."""
        async with self._changing:
            if self._server is None:
                return
            await self._stop_listening(self._server)
            self._socket = _bound(self._host, self.port)
            self._opening = asyncio.create_task(self._open_again(self._socket, seconds))

    async def close(self) -> None:
        """Stop listening permanently."""
        async with self._changing:
            if self._opening is not None:
                self._opening.cancel()
                await asyncio.wait([self._opening])
            if self._server is not None:
                await self._stop_listening(self._server)
            elif self._socket is not None:
                self._socket.close()

    async def _open_again(self, sock: socket.socket, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen(sock)

    async def _listen(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._handler, sock=sock, start_serving=False)
        await self._server.start_serving()

    async def _stop_listening(self, server: asyncio.Server) -> None:
        for sock in server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        # A connection accepted a moment ago is handed over in the next iteration of the loop; a closed server
        # would drop it.
        await asyncio.sleep(0)
        server.close()
        self._server = None


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port, not listening yet."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock

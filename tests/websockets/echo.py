"""A websocket server that sends back what it gets. Writes its port to standard output."""
import asyncio
import logging

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

# What clients do wrong is what they are here for.
logging.disable()


async def echo(websocket):
    try:
        async for message in websocket:
            await websocket.send(message)
    except ConnectionClosed:
        pass


async def main():
    async with serve(echo, "127.0.0.1", 0, compression="deflate", max_size=64 << 20, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())

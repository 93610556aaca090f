"""python smoke.py compiled|python: does the installed package work, and is that the core in use?"""

import asyncio
import sys
from pathlib import Path

import aiohttp_rawws as rawws


async def echo(session: rawws.WebSocketSession) -> None:
    async for frame in session:
        if frame.opcode is rawws.Opcode.CLOSE:
            await session.close()
        else:
            await session.send(frame)


async def main() -> None:
    server, client = rawws.memory_pair()
    serving = asyncio.create_task(rawws.run_session(server, echo))
    await client.send(rawws.Frame.text("hello", fin=False))
    frame = await client.receive()
    assert (frame.opcode, frame.text, frame.fin) == (rawws.Opcode.TEXT, "hello", False), frame
    await client.close(1000)
    assert (await client.receive()).opcode is rawws.Opcode.CLOSE
    await client.end()
    await serving


where = Path(rawws.__file__).parent
assert where.parent != Path.cwd(), "this is the checkout"
assert (where / "py.typed").exists()
assert rawws.COMPILED is (sys.argv[1] == "compiled"), f"COMPILED is {rawws.COMPILED}"
asyncio.run(asyncio.wait_for(main(), 10))
print(f"{where}: {sys.argv[1]} core, works")

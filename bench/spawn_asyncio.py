"""The same on asyncio, with uvloop where it is installed: PORT. Just enough HTTP for spawn_load.c."""
import asyncio
import sys

try:
    import uvloop
except ImportError:
    uvloop = None


async def serve(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        body = b"hello world"
        if head.startswith(b"GET /spawn"):
            child = await asyncio.create_subprocess_exec(
                "/bin/true", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
            await child.communicate()
            body = b"%d" % child.returncode
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

if uvloop:
    uvloop.install()
asyncio.run(main())

"""Runs inside the container: accepts on TCP port 80 and echoes on UDP port 7, on IPv4 and IPv6.

Standard library only, and no import of ours: it starts before anything else of the system.
"""

import os
import selectors
import socket


def _open(kind: socket.SocketKind, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET6, kind)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(("::", port))
    opened.setblocking(False)
    return opened


def _tell(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def main() -> None:
    tcp, udp = _open(socket.SOCK_STREAM, 80), _open(socket.SOCK_DGRAM, 7)
    tcp.listen(512)
    ready = selectors.DefaultSelector()
    for opened in (tcp, udp):
        ready.register(opened, selectors.EVENT_READ)
    _tell("READY=1")
    while True:
        for key, _ in ready.select():
            try:
                if key.fileobj is tcp:
                    tcp.accept()[0].close()
                else:
                    data, sender = udp.recvfrom(2048)
                    udp.sendto(data, sender)
            except OSError:
                continue


if __name__ == "__main__":
    main()

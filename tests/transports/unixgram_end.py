"""A VMM's datagram socket, as vfkit's (bound and connected) or QEMU's (bound), between two pipes.

    unixgram_end.py OWN GATEWAY vfkit|qemu

Each frame behind 4 bytes of length on standard input is a datagram to the gateway, and the other way
round. It ends with its standard input.
"""
import os
import socket
import struct
import sys
import threading

own, gateway, kind = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
sock.bind(own)
if kind == "vfkit":
    sock.connect(gateway)
    sock.send(b"VFKT")
output = sys.stdout.buffer


def receive():
    while True:
        frame = sock.recv(70000)
        output.write(struct.pack(">I", len(frame)) + frame)
        output.flush()


threading.Thread(target=receive, daemon=True).start()
source = sys.stdin.buffer
while True:
    head = source.read(4)
    if len(head) < 4:
        break
    frame = source.read(struct.unpack(">I", head)[0])
    if kind == "vfkit":
        sock.send(frame)
    else:
        sock.sendto(frame, gateway)
os._exit(0)

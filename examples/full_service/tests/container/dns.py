"""A name server for one name: `of-dns.test` is 127.0.0.1."""
import socket
import struct

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
while True:
    query, client = server.recvfrom(512)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12 : at + 5]
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    known = ".".join(labels).lower() == "of-dns.test"
    answers = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])] if known and kind == 1 else []
    flags = 0x8180 if known else 0x8183  # an unknown name is NXDOMAIN
    head = query[:2] + struct.pack(">HHHHH", flags, 1, len(answers), 0, 0)
    server.sendto(head + question + b"".join(answers), client)

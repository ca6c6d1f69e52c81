"""A client of Brindle in fifty lines, made from proto/brindle.proto alone.

It shares no code with the daemon: the messages come from Google's protobuf library, generated
when this module is loaded. What works here works from every language that has such a library.
"""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

SRC = pathlib.Path(os.environ.get("BRINDLE_SRC", pathlib.Path(__file__).resolve().parents[2]))


def load_schema():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["protoc", f"--proto_path={SRC / 'proto'}", f"--python_out={folder}",
                        SRC / "proto" / "brindle.proto"], check=True)
        sys.path.insert(0, folder)
        import brindle_pb2
        sys.path.pop(0)
    return brindle_pb2


pb = load_schema()


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def frame(message):
    """A message, or the bytes of one, with its length in front."""
    body = message if isinstance(message, bytes) else message.SerializeToString()
    return varint(len(body)) + body


class Client:
    def __init__(self, address, timeout=600):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.next_id = 1

    def request(self, namespace="", **op):
        """A request with the next id: request(get=pb.Get(key=b"k"))."""
        self.next_id += 1
        return pb.Request(id=self.next_id, namespace=namespace, **op)

    def send(self, *messages):
        self.socket.sendall(b"".join(map(frame, messages)))

    def receive(self):
        """The next reply, or None at the end of the stream."""
        size = shift = 0
        while True:
            byte = self.stream.read(1)
            if not byte:
                if shift:
                    raise ConnectionError("the stream ends within a length")
                return None
            size |= (byte[0] & 0x7f) << shift
            shift += 7
            if byte[0] < 0x80:
                break
        body = self.stream.read(size)
        if len(body) < size:
            raise ConnectionError("the stream ends within a message")
        return pb.Reply.FromString(body)

    def call(self, namespace="", **op):
        request = self.request(namespace, **op)
        self.send(request)
        reply = self.receive()
        if reply is None:
            raise ConnectionError("closed instead of an answer")
        if reply.id != request.id:
            raise AssertionError(f"reply {reply.id} to request {request.id}: {reply}")
        return reply

    def close(self):
        self.stream.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

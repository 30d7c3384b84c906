"""What tests need to look at a screen: PNG files, a viewer of VNC, and to read a terminal's font."""
import io
import select
import socket
import struct
import time
import zlib

from PIL import Image

CELL = (8, 16)  # pixels of a character of the kernel's font


class Picture:
    def __init__(self, width, height, pixels):
        self.width, self.height, self.pixels = width, height, pixels  # 3 bytes a pixel, row by row

    def cell(self, column, row):
        """Which pixels of a character's place are lit, whatever their colour: the rarer kind, or all of one."""
        rows = []
        for y in range(row * CELL[1], (row + 1) * CELL[1]):
            at = (y * self.width + column * CELL[0]) * 3
            rows.append(self.pixels[at:at + CELL[0] * 3])
        colours = {r[i:i + 3] for r in rows for i in range(0, len(r), 3)}
        ground = b"\0\0\0" if b"\0\0\0" in colours else min(colours)
        return bytes(r[i:i + 3] != ground for r in rows for i in range(0, len(r), 3))


def read_png(content):
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    image = Image.open(io.BytesIO(content))
    assert image.mode == "RGB"
    return Picture(*image.size, image.tobytes())


class Font:
    """Learnt from a line in which each character was written in its order."""

    def __init__(self, picture, row, characters):
        self.glyphs = {picture.cell(column, row): c for column, c in enumerate(characters)}
        assert len(self.glyphs) == len(characters), "two characters look the same"

    def read(self, picture):
        return ["".join(self.glyphs.get(picture.cell(column, row), "\ufffd")
                        for column in range(picture.width // CELL[0])).rstrip()
                for row in range(picture.height // CELL[1])]


class Viewer:
    """A VNC viewer by RFC 6143: Raw (0), and ZRLE (16) of the kinds that there are."""

    def __init__(self, address, encodings=(0, -223, -258)):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(address)
        assert self.get(12) == b"RFB 003.008\n"
        self.socket.sendall(b"RFB 003.008\n")
        assert self.get(self.get(1)[0]) == b"\1"
        self.socket.sendall(b"\1")
        assert self.get(4) == bytes(4)
        self.socket.sendall(b"\1")
        self.width, self.height, form, length = struct.unpack(">HH16sI", self.get(24))
        self.name = self.get(length).decode()
        assert form[:13] == bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0])
        self.pixels = bytearray(self.width * self.height * 3)
        self.inflate, self.updates = zlib.decompressobj(), 0
        self.extended_keys = False
        self.socket.sendall(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    def get(self, length):
        got = b""
        while len(got) < length:
            piece = self.socket.recv(length - len(got))
            if not piece:
                raise EOFError("the server closed the connection")
            got += piece
        return got

    def ask(self, incremental=True):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def has_news(self, seconds):
        return bool(select.select([self.socket], [], [], seconds)[0])

    def put(self, x, y, width, pixels):
        for i in range(len(pixels) // (width * 3)):
            at = ((y + i) * self.width + x) * 3
            self.pixels[at:at + width * 3] = pixels[i * width * 3:(i + 1) * width * 3]

    def take(self):
        """One update."""
        kind, count = struct.unpack(">BxH", self.get(4))
        assert kind == 0 and count > 0
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self.get(12))
            if encoding == -223:
                self.width, self.height = width, height
                self.pixels = bytearray(width * height * 3)
            elif encoding == -258:
                self.extended_keys = True
            elif encoding == 0:
                raw, pixels = self.get(width * height * 4), bytearray(width * height * 3)
                for colour in range(3):
                    pixels[colour::3] = raw[2 - colour::4]
                self.put(x, y, width, pixels)
            else:
                assert encoding == 16
                self.take_zrle(x, y, width, height)
        self.updates += 1

    def take_zrle(self, left, top, width, height):
        data = self.inflate.decompress(self.get(struct.unpack(">I", self.get(4))[0]))
        at = 0
        for y in range(0, height, 64):
            for x in range(0, width, 64):
                wide, high = min(64, width - x), min(64, height - y)
                kind, at = data[at], at + 1
                palette = [data[at + i * 3:at + i * 3 + 3][::-1] for i in range(kind)]
                at += kind * 3
                pixels = []
                bits = 1 if kind == 2 else 2 if kind <= 4 else 4
                for _ in range(high if kind > 1 else 0):
                    row = int.from_bytes(data[at:at + (wide * bits + 7) // 8], "big")
                    size = (wide * bits + 7) // 8 * 8
                    pixels += [palette[row >> size - bits * (i + 1) & (1 << bits) - 1] for i in range(wide)]
                    at += size // 8
                if kind == 1:
                    pixels = palette * (wide * high)
                if kind == 0:
                    pixels = [data[at + i * 3:at + i * 3 + 3][::-1] for i in range(wide * high)]
                    at += wide * high * 3
                self.put(left + x, top + y, wide, b"".join(pixels))
        assert at == len(data)

    def picture(self):
        return Picture(self.width, self.height, bytes(self.pixels))

    def look(self):
        """All of it, as it is now."""
        self.ask(incremental=False)
        self.take()
        return self.picture()

    def follow(self, seconds=1):
        """Updates until none has come for so long; how many there were. One stays asked for."""
        before = self.updates
        while self.has_news(seconds):
            self.take()
            self.ask()
        return self.updates - before

    def press(self, keysym, down):
        self.socket.sendall(struct.pack(">BBxxI", 4, down, keysym))

    def type(self, text):
        """As a viewer does without extended keys: shift where a US keyboard has it."""
        for character in text:
            keysym = {"\n": 0xff0d}.get(character, ord(character))
            self.press(keysym, 1)
            self.press(keysym, 0)
            time.sleep(0.01)

    def press_code(self, keysym, code, down):
        self.socket.sendall(struct.pack(">BBHII", 255, 0, down, keysym, code))

    def point(self, x, y, buttons=0):
        self.socket.sendall(struct.pack(">BBHH", 5, buttons, x, y))

    def close(self):
        self.socket.close()

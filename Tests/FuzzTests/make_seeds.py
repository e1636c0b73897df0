"""Writes the seeds of the corpus: small valid inputs of each kind, and the classic attacks on it."""

import base64
import gzip
import io
import json
import pathlib
import struct
import tarfile
import zipfile
import zlib

CORPUS = pathlib.Path(__file__).parent / "corpus"


def idx(kind, dimensions, data):
    return struct.pack(">HBB", 0, kind, len(dimensions)) + struct.pack(f">{len(dimensions)}I", *dimensions) + data


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, size):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}



def sparse(dtype, element):
    """A 2x9 tensor without its zeros: three elements, the last in the last column."""
    parts = [("a.shape", "I64", [2], struct.pack("<2q", 2, 9)), ("a.row_offsets", "I64", [2], struct.pack("<2q", 0, 1)),
             ("a.compressed", dtype, [3], element * 3), ("a.bitmask", "U8", [2, 2], bytes([4, 0, 1, 1]))]
    header, data = {}, b""
    for name, kind, shape, content in parts:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return safetensors(header, data)


def npy(descriptor, shape, data=b"", version=1):
    text = f"{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def npz(compression, **arrays):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content, compression)
    return file.getvalue()


def tar(form, **files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, color, rows, *before):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before) + chunk(
        b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# Of JPEGReaderTests: 8-bit colour and grey.
JPEGS = [base64.b64decode(text) for text in (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    "AQEBAQEBAQEBAQEBAQH/2wBDAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    "AQEBAQEBAQH/wAARCAAIABADAREAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF"
    "BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW"
    "V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi"
    "4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAEC"
    "AxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVm"
    "Z2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq"
    "8vP09fb3+Pn6/9oADAMBAAIRAxEAPwD8D/2bfht/x4f6P/zy/h+ntX9QH87n9AH7Nvw2/wCPD/R/+eX8P09qAP/Z",
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    "AQEBAQEBAQEBAQEBAQH/wgALCAAIABABAREA/8QAFAABAAAAAAAAAAAAAAAAAAAACf/aAAgBAQAAAAEp0A//xAAWEAADAAAAAAAA"
    "AAAAAAAAAAAABQb/2gAIAQEAAQUCm1pNrT//xAAXEAADAQAAAAAAAAAAAAAAAAAAAiJR/9oACAEBAAY/AknBJw//xAAVEAEBAAAA"
    "AAAAAAAAAAAAAAAA4f/aAAgBAQABPyGUSj//2gAIAQEAAAAQP//EABcQAAMBAAAAAAAAAAAAAAAAAABRYfD/2gAIAQEAAT8QzShm"
    "lD//2Q==")]
GREY = png(3, 2, 8, 0, bytes([0, 1, 2, 3, 1, 4, 5, 6]))
PIXELS = npy("|u1", (2, 2, 2), bytes(8))
LAYERS = [{"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1}, {"type": "batch_norm"},
          {"type": "relu"}, {"type": "max_pool2d", "kernel_size": 2}, {"type": "flatten"},
          {"type": "linear", "out_features": 10}]
FOX = gzip.compress(b"the quick brown fox " * 20, mtime=0)
SEEDS = {
    "json": [b'{"a": [1, -2.5e3, "\\u00e9\\ud83d\\ude00", null, true], "b": {}}', b"[" * 40 + b"]" * 40,
             b'{"a":1,"a":2}', b"1e999", b'"\\ud800"', b"-0.0", b"18446744073709551616"],
    "model": [json.dumps(model).encode() for model in (
        {"input": [1, 28, 28], "layers": LAYERS},
        {"preset": "gpt", "tokens": 8, "vocabulary": 65, "width": 8, "heads": 2, "blocks": 1},
        {"preset": "separable5"}, {"preset": "lenet5_caffe"},
        {"input": [1, 28, 28], "layers": [
            {"type": "residual", "layers": [LAYERS[0]]}, {"type": "separable_conv2d", "out_channels": 4, "kernel_size": 3},
            {"type": "global_avg_pool"}]},
        {"input": [1, 9223372036854775807, 2], "layers": [{"type": "linear", "out_features": 1048576}]},
        {"input": [65536, 65536], "layers": [{"type": "flatten"}, {"type": "linear", "out_features": 10}]})],
    "head": [b"GET\n/v1/jobs?state=queued&limit=5\nHost: localhost:8080\nAccept: */*",
             b"POST\n/v1/jobs\nHost: h\nContent-Length: 5\nTransfer-Encoding: chunked",
             b"DELETE\n/v1/jobs/%2e%2e%2f%00\nHost: h\nHost: g", b"PUT\n//x;y\\z#\nHost: [::1]:80\nContent-Length: -1"],
    "range": [b"bytes=0-99", b"bytes=-5", b"bytes=5-", b"bytes=0-1,3-4", b"bytes=99999999999999999999-", b"bytes=5-2"],
    "gzip": [FOX, FOX + FOX, FOX[:-8] + bytes(8), gzip.compress(bytes(1 << 20), mtime=0), FOX + b"tail", FOX[:10]],
    "idx": [idx(8, [2, 3, 3], bytes(range(18))), idx(8, [4], bytes(4)), idx(8, [2**32 - 1] * 3, b""),
            idx(13, [2, 2], bytes(16)), idx(8, [0, 28, 28], b""), gzip.compress(idx(8, [2, 2, 2], bytes(8)), mtime=0)],
    "csv": [b"text,label\nhello world,greeting\n\"a \"\"quoted\"\" one\",other\n", b"token,tag\nEU,B-ORG\nrejects,O\n\n",
            b"label,text\r\n1,\"two\r\nlines\"\r\n", b"sentence,token,label\n1,a,X\n2,b,Y\n", b"text,label\n\"open", b"\xef\xbb\xbftext,label\na,b\n"],
    "text": ["It's the naïve café – don’t 1,000 words 字 😀".encode(), b"\xff\xfe", b"\xf0\x9f", b"a" * 300],
    "npy": [PIXELS, npy("<f4", (3,), bytes(12)), npy(">i8", (1, 2), bytes(16), 2), npy("|O", (1,), bytes(8)),
            npy("<f8", (65536, 65536), b""), npy("<f4", (4194305, 4194305, 211106198978564), b""), npy("|b1", (), b"x")],
    "npz": [npz(zipfile.ZIP_DEFLATED, x_train=PIXELS, y_train=npy("|u1", (2,), b"ab")), npz(zipfile.ZIP_STORED, x_train=PIXELS),
            npz(zipfile.ZIP_DEFLATED, x_train=bytes(1 << 20)), b"PK\5\6" + bytes(18)],
    "tar": [tar(tarfile.USTAR_FORMAT, train__a__1=GREY, test__a__1=GREY), tar(tarfile.GNU_FORMAT, **{"n" * 150: b"x"}),
            tar(tarfile.PAX_FORMAT, **{"é" * 120: b"xy"}), gzip.compress(tar(tarfile.USTAR_FORMAT, a=b"z"), mtime=0)],
    "png": [GREY, png(2, 1, 8, 6, bytes([4] + [9] * 8)), png(9, 2, 1, 0, bytes([0, 170, 1, 2, 85, 0])),
            png(2, 2, 8, 3, bytes([0, 0, 1, 0, 1, 0]), chunk(b"PLTE", bytes(range(6)))), png(2**31, 2**31, 8, 2, b""),
            png(1, 1, 16, 2, bytes(7), chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 16))))],
    "jpeg": [*JPEGS, JPEGS[0][:-30], b"\xff\xd8\xff\xd9"],
    "safetensors": [safetensors(tensor("F32", [2, 2], 16), bytes(16)), safetensors(tensor("I8", [4], 4), bytes(4)),
                    safetensors(tensor("F32", [65536, 65536], 8), bytes(8)),
                    safetensors(tensor("F32", [4194305, 4194305, 211106198978564], 4), bytes(4)),
                    safetensors(b"{}"), struct.pack("<Q", 2**63), safetensors(tensor("BF16", [3], 6), bytes(6)),
                    sparse("F32", struct.pack("<f", 1.5)), sparse("F16", struct.pack("<e", -2)),
                    sparse("BF16", b"\x80\x3f"), sparse("I8", b"\xf9")],
}

for target, seeds in SEEDS.items():
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (CORPUS / target / f"seed-{number}").write_bytes(seed)

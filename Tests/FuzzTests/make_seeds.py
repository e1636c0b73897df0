"""Writes the seeds of the corpus: small valid inputs of each kind, and the classic attacks on it."""

import gzip
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def idx(kind, dimensions, data):
    return struct.pack(">HBB", 0, kind, len(dimensions)) + struct.pack(f">{len(dimensions)}I", *dimensions) + data


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, size):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


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
    "safetensors": [safetensors(tensor("F32", [2, 2], 16), bytes(16)), safetensors(tensor("I8", [4], 4), bytes(4)),
                    safetensors(tensor("F32", [65536, 65536], 8), bytes(8)),
                    safetensors(tensor("F32", [4194305, 4194305, 211106198978564], 4), bytes(4)),
                    safetensors(b"{}"), struct.pack("<Q", 2**63), safetensors(tensor("BF16", [3], 6), bytes(6))],
}

for target, seeds in SEEDS.items():
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (CORPUS / target / f"seed-{number}").write_bytes(seed)

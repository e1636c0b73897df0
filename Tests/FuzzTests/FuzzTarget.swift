import Files
import Foundation
import JSON

@testable import Data
@testable import Formats
@testable import Graph
@testable import HTTP

/// A parser of what comes from outside, to be fed with anything.
///
/// Each either accepts its input or throws; a trap, a sanitizer's finding, or memory and time far beyond the
/// input's size is a defect.
enum FuzzTarget: String, CaseIterable {
    case json, model, head, range, gzip, idx, csv, text, npy, npz, tar, png, jpeg, safetensors

    /// Parses `bytes` as far as the service would.
    func run(_ bytes: [UInt8]) {
        switch self {
        case .json: Self.parse(bytes)
        case .model: Self.readModel(bytes)
        case .head: Self.checkHead(bytes)
        case .range: Self.readRange(bytes)
        case .gzip: ScratchFile.holding(bytes, named: "in.gz") { Self.inflate($0) }
        case .idx: ScratchFile.holding(bytes, named: "in-idx3-ubyte") { Self.readIDX($0) }
        case .csv: ScratchFile.holding(bytes, named: "in.csv") { _ = try? SequenceTable($0) }
        case .text: Self.readText(bytes)
        case .npy: ScratchFile.holding(bytes, named: "in.npy") { Self.readArray($0, bytes.count) }
        case .npz: ScratchFile.holding(bytes, named: "in.npz") { Self.readArchive($0) }
        case .tar: ScratchFile.holding(bytes, named: "in.tar") { Self.walk($0) }
        case .png: Self.decode(try? PNGReader(bytes, of: "in.png"))
        case .jpeg: Self.decode(try? JPEGReader(bytes, of: "in.jpg"))
        case .safetensors: ScratchFile.holding(bytes, named: "in.safetensors") { Self.readTensors($0) }
        }
    }

    /// What was read is written, and read again as the same.
    private static func parse(_ bytes: [UInt8]) {
        guard let value = try? JSONValue(parsing: bytes) else { return }
        let text = value.encoded()
        let again = try? JSONValue(parsing: text)
        precondition(again?.encoded() == text, "JSON that was written is read as something else")
    }

    /// A model, its shapes and costs, as a job's body has it.
    private static func readModel(_ bytes: [UInt8]) {
        guard let value = try? JSONValue(parsing: bytes) else { return }
        let data = DataShape.images(nil, classes: nil)
        let log = ViolationLog()
        guard let model = ModelReader(pointer: "/model", data: data, log: log).read(value) else {
            precondition(!log.isEmpty, "a model was refused without a reason")
            return
        }
        precondition(CostModel(of: model.graph).parameters >= 0)
    }

    /// Lines of a request: method, path, query pairs and fields.
    private static func checkHead(_ bytes: [UInt8]) {
        var lines = String(decoding: bytes, as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false
        ).map(String.init)
        guard lines.count >= 2 else { return }
        let method = lines.removeFirst()
        let target = lines.removeFirst().split(separator: "?", maxSplits: 1).map(String.init)
        var headers = Headers()
        for line in lines {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            headers.add(String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
        let query = (target.count > 1 ? target[1] : "").split(separator: "&").map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : "")
        }
        let head = RequestHead(
            method: method, version: "HTTP/1.1", path: target.first ?? "", query: query, headers: headers,
            hasMalformedField: false, peer: "127.0.0.1",
            listener: Listener(-1, .plain, name: "", hosts: []))
        _ = try? Validator.check(head)
    }

    private static func readRange(_ bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        for count in [0, 1, 1000, Int.max] {
            if case .part(let range) = ByteRange(text, of: count) {
                precondition(range.lowerBound >= 0 && range.upperBound <= count, "a range beyond the file")
            }
        }
    }

    private static func inflate(_ path: String) {
        let limit = 1 << 20
        guard let reader = try? GzipReader(path, outputLimit: limit) else { return }
        var count = 0
        while let piece = try? reader.read(upTo: 1 << 16), !piece.isEmpty { count += piece.count }
        precondition(count <= limit, "more was inflated than was allowed")
    }

    private static func readIDX(_ path: String) {
        guard let reader = try? IDXReader(path, rank: 1...4) else { return }
        _ = try? reader.read(upTo: .max)
    }

    private static func readText(_ bytes: [UInt8]) {
        guard let text = try? UTF8Text(bytes, of: "in.txt") else { return }
        _ = Words.split(String(decoding: text.bytes, as: UTF8.self))
    }

    private static func readArray(_ path: String, _ count: Int) {
        guard let source = try? FileSource(path) else { return }
        read(try? NPYReader(source, byteCount: count))
    }

    private static func read(_ array: NPYReader?) {
        while let bytes = try? array?.readBytes(.whole), !bytes.isEmpty {}
    }

    /// The arrays under the names that datasets have.
    private static func readArchive(_ path: String) {
        guard let archive = try? ZipArchive(path) else { return }
        for name in ["x_train", "y_train", "x_test", "y_test"] {
            guard let entry = archive["\(name).npy"], let source = try? archive.open(entry) else { continue }
            read(try? NPYReader(source, byteCount: entry.byteCount))
        }
    }

    private static func walk(_ path: String) {
        guard let source = try? FileSource(path) else { return }
        var reader = TarReader(source)
        while let entry = try? reader.next() {
            guard entry.byteCount <= 1 << 20, (try? reader.readContent()) != nil else { return }
        }
    }

    private static func decode(_ image: (any StillImage)?) {
        guard let image else { return }
        for channels in image.isColored ? [3] : [1, 3] {
            guard let pixels = try? image.decode(channels: channels) else { continue }
            precondition(pixels.count == image.width * image.height * channels)
        }
    }

    /// Every tensor as every type that a model's file may be read as.
    private static func readTensors(_ path: String) {
        guard let reader = try? SafetensorsReader(path) else { return }
        for entry in reader.entries {
            _ = try? reader.bytes(entry.name)
            _ = try? reader.floats(entry.name)
            _ = try? reader.doubles(entry.name)
            _ = try? reader.integers(entry.name)
        }
        readWhole(reader, path)
    }

    /// With all its zeros, a file whose parts go together reads as it does without them.
    private static func readWhole(_ reader: SafetensorsReader, _ path: String) {
        guard let layout = try? WholeLayout(reader), layout.byteCount <= 1 << 22,
            let stored = try? RandomReader(path), let whole = try? WholeFile(layout, from: stored)
        else { return }
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: layout.byteCount, by: 4099) {
            guard let part = try? whole.read(start..<start + 4099, from: stored) else {
                preconditionFailure("a part could not be made")
            }
            bytes += part
        }
        precondition(bytes.count == layout.byteCount)
        ScratchFile.holding(bytes, named: "whole") { path in
            guard let again = try? SafetensorsReader(path) else { preconditionFailure("it is malformed") }
            for entry in again.entries {
                let values = [reader, again].map { try? $0.floats(entry.name).map(\.bitPattern) }
                precondition(values[0] == values[1], "a tensor has other numbers")
            }
        }
    }
}

/// A file in memory for parsers that open files.
enum ScratchFile {
    private static let folder =
        FileManager.default.fileExists(atPath: "/dev/shm")
        ? "/dev/shm/vintner-fuzz-\(getpid())" : NSTemporaryDirectory() + "vintner-fuzz-\(getpid())"

    /// Runs `body` with the path of a file of this content, which goes again.
    static func holding(_ bytes: [UInt8], named name: String, _ body: (String) -> Void) {
        let path = "\(folder)-\(name)"
        guard FileManager.default.createFile(atPath: path, contents: Foundation.Data(bytes)) else { return }
        body(path)
        try? FileManager.default.removeItem(atPath: path)
    }
}

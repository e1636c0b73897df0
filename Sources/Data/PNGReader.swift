import CData
import Files

/// Decodes a PNG image to one byte per channel (W3C's PNG, third edition): all depths and colour types.
///
/// Ancillary chunks are passed over without a look, so nothing in them can inflate; sizes are checked before
/// anything is allocated. Interlaced images are refused.
struct PNGReader: StillImage {
    private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    /// What a pixel is made of.
    private enum Color: UInt8 {
        case grey = 0
        case rgb = 2
        case palette = 3
        case greyAlpha = 4
        case rgba = 6

        var sampleCount: Int {
            switch self {
            case .grey, .palette: 1
            case .greyAlpha: 2
            case .rgb: 3
            case .rgba: 4
            }
        }

        var depths: Set<Int> {
            switch self {
            case .grey: [1, 2, 4, 8, 16]
            case .palette: [1, 2, 4, 8]
            case .rgb, .greyAlpha, .rgba: [8, 16]
            }
        }
    }

    let width: Int
    let height: Int
    /// Whether it may have colours.
    var isColored: Bool { color != .grey && color != .greyAlpha }
    private let color: Color
    private let depth: Int
    private let bytes: [UInt8]
    private let name: String

    /// Reads the header of an image.
    init(_ bytes: [UInt8], of name: String) throws(DataError) {
        (self.bytes, self.name) = (bytes, name)
        guard bytes.count >= 33, bytes.starts(with: Self.signature), bytes[8...].starts(with: [0, 0, 0, 13]),
            bytes[12...].starts(with: "IHDR".utf8)
        else { throw .malformed(file: name, expected: "a PNG image", found: "something else") }
        let (width, height) = (Self.number(bytes, 16), Self.number(bytes, 20))
        try Self.checkExtents(width, height, name)
        guard let color = Color(rawValue: bytes[25]), color.depths.contains(Int(bytes[24])), bytes[26] == 0,
            bytes[27] == 0
        else {
            throw .malformed(
                file: name, expected: "a depth and a colour type of PNG",
                found: "depth \(bytes[24]), type \(bytes[25])")
        }
        guard bytes[28] == 0 else {
            throw .malformed(file: name, expected: "an image that is not interlaced", found: "one that is")
        }
        (self.width, self.height, self.color, depth) = (width, height, color, Int(bytes[24]))
    }

    func decode(channels: Int) throws(DataError) -> [UInt8] {
        let chunks = try chunks()
        let palette = try palette(chunks)
        var parts = chunks.filter { $0.type == "IDAT" }.map(\.content)[...]
        let bytes = bytes
        let inflater: Inflater
        do {
            inflater = try Inflater(of: name, .zlib) { () throws(FileError) in
                while let part = parts.popFirst() { if !part.isEmpty { return Array(bytes[part]) } }
                return []
            }
        } catch { throw .file(error) }
        let samples = width * color.sampleCount
        let rowByteCount = (samples * depth + 7) / 8
        let step = max(1, color.sampleCount * depth / 8)
        var above = [UInt8](repeating: 0, count: rowByteCount)
        var widened = [UInt8](repeating: 0, count: samples)
        var pixels: [UInt8] = []
        pixels.reserveCapacity(width * height * channels)
        for _ in 0..<height {
            var row = try read(1 + rowByteCount, inflater)
            let filter = Int32(row.removeFirst())
            guard unsafe cdata_unfilter(filter, &row, above, rowByteCount, step) == 0 else {
                throw .malformed(file: name, expected: "a filter of PNG", found: "\(filter)")
            }
            unsafe cdata_widen_samples(row, samples, depth, color == .palette ? 0 : 1, &widened)
            try append(widened, palette, channels, to: &pixels)
            above = row
        }
        guard try read(upTo: 1, inflater).isEmpty else {
            throw .malformed(file: name, expected: "\(height) rows", found: "more")
        }
        return pixels
    }

    private func append(
        _ samples: [UInt8], _ palette: [UInt8], _ channels: Int, to pixels: inout [UInt8]
    ) throws(DataError) {
        switch color {
        case .grey, .greyAlpha:
            for index in stride(from: 0, to: samples.count, by: color.sampleCount) {
                for _ in 0..<channels { pixels.append(samples[index]) }
            }
        case .rgb, .rgba:
            for index in stride(from: 0, to: samples.count, by: color.sampleCount) {
                pixels.append(contentsOf: samples[index..<index + 3])
            }
        case .palette:
            for sample in samples {
                let index = 3 * Int(sample)
                guard index + 3 <= palette.count else {
                    throw .malformed(
                        file: name, expected: "indices below \(palette.count / 3)", found: "\(sample)")
                }
                pixels.append(contentsOf: palette[index..<index + 3])
            }
        }
    }

    private func read(_ count: Int, _ inflater: Inflater) throws(DataError) -> [UInt8] {
        let row = try DataError.translating { () throws(FileError) in try inflater.readFully(count) }
        guard row.count == count else {
            throw .malformed(file: name, expected: "\(height) rows", found: "fewer")
        }
        return row
    }

    private func read(upTo count: Int, _ inflater: Inflater) throws(DataError) -> [UInt8] {
        try DataError.translating { () throws(FileError) in try inflater.read(upTo: count) }
    }

    private struct Chunk {
        let type: String
        let content: Range<Int>
    }

    /// All chunks that an image needs, each with its checksum checked.
    private func chunks() throws(DataError) -> [Chunk] {
        var chunks: [Chunk] = []
        var index = Self.signature.count
        while true {
            guard bytes.count - index >= 12 else { throw broken("an early end") }
            let length = Self.number(bytes, index)
            guard length <= bytes.count - index - 12 else { throw broken("a chunk beyond the end") }
            let content = (index + 8)..<(index + 8 + length)
            let type = String(decoding: bytes[(index + 4)..<(index + 8)], as: UTF8.self)
            index = content.upperBound + 4
            // The fifth bit of the first letter: what a reader may pass over.
            guard bytes[content.lowerBound - 4] & 0x20 == 0 else { continue }
            var sum = CRC32()
            sum.update(Array(bytes[(content.lowerBound - 4)..<content.upperBound]))
            guard Int(sum.value) == Self.number(bytes, content.upperBound) else {
                throw broken("a checksum that is wrong in \(type)")
            }
            if type == "IEND" { return chunks }
            guard ["IHDR", "PLTE", "IDAT"].contains(type) else { throw broken("a chunk of its own") }
            chunks.append(Chunk(type: type, content: content))
        }
    }

    private func palette(_ chunks: [Chunk]) throws(DataError) -> [UInt8] {
        guard color == .palette else { return [] }
        guard let chunk = chunks.first(where: { $0.type == "PLTE" }), chunk.content.count % 3 == 0,
            (3...768).contains(chunk.content.count)
        else { throw broken("no palette") }
        return Array(bytes[chunk.content])
    }

    private func broken(_ found: String) -> DataError {
        .malformed(file: name, expected: "a PNG image", found: found)
    }

    private static func number(_ bytes: [UInt8], _ offset: Int) -> Int {
        bytes[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) }
    }
}

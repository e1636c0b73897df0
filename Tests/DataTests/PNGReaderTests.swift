import Testing

@testable import Data

@Suite("A PNG image is decoded as the standard says, or refused") struct PNGReaderTests {
    private func decode(_ bytes: [UInt8], channels: Int = 1) throws(DataError) -> [UInt8] {
        try PNGReader(bytes, of: "x.png").decode(channels: channels)
    }

    @Test("every filter is undone", arguments: [1, 2])
    func undoesFilters(step: Int) throws {
        // Rows filtered here by the definitions of the standard, with an oracle that knows only them.
        let (width, height) = (7, 10)
        let count = width * step
        var seed = 1
        let pixels = (0..<height).map { _ in
            (0..<count).map { _ in
                seed = (seed * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
                return seed >> 16 & 255
            }
        }
        var rows: [UInt8] = []
        for (y, row) in pixels.enumerated() {
            let filter = y % 5
            rows.append(UInt8(filter))
            for x in 0..<count {
                let left = x < step ? 0 : row[x - step]
                let above = y == 0 ? 0 : pixels[y - 1][x]
                let corner = x < step || y == 0 ? 0 : pixels[y - 1][x - step]
                let guess = left + above - corner
                let nearest = [left, above, corner].enumerated().min {
                    (abs(guess - $0.element), $0.offset) < (abs(guess - $1.element), $1.offset)
                }
                let predicted = [0, left, above, (left + above) / 2, nearest?.element ?? 0][filter]
                rows.append(UInt8(truncatingIfNeeded: row[x] - predicted))
            }
        }
        let image = Crafted.png(width, height, color: step == 1 ? 0 : 4, rows: rows)
        let grey = pixels.flatMap { row in stride(from: 0, to: count, by: step).map { UInt8(row[$0]) } }
        #expect(try decode(image) == grey)
    }

    @Test("every depth and colour type becomes bytes")
    func readsTypes() throws {
        // Two pixels each.
        #expect(try decode(Crafted.png(2, 1, depth: 1, rows: [0, 0b0100_0000])) == [0, 255])
        #expect(try decode(Crafted.png(2, 1, depth: 2, rows: [0, 0b0110_0000])) == [85, 170])
        #expect(try decode(Crafted.png(2, 1, depth: 4, rows: [0, 0x1F])) == [17, 255])
        #expect(try decode(Crafted.png(2, 1, depth: 16, rows: [0, 1, 2, 3, 4])) == [1, 3])
        #expect(try decode(Crafted.png(2, 1, color: 4, rows: [0, 1, 9, 2, 9])) == [1, 2])
        #expect(try decode(Crafted.png(2, 1, color: 0, rows: [0, 1, 2]), channels: 3) == [1, 1, 1, 2, 2, 2])
        #expect(
            try decode(Crafted.png(2, 1, color: 2, rows: [0, 1, 2, 3, 4, 5, 6]), channels: 3)
                == [1, 2, 3, 4, 5, 6])
        #expect(
            try decode(Crafted.png(2, 1, color: 6, rows: [0, 1, 2, 3, 9, 4, 5, 6, 9]), channels: 3)
                == [1, 2, 3, 4, 5, 6])
        let palette = Crafted.chunk("PLTE", [1, 2, 3, 4, 5, 6])
        #expect(
            try decode(
                Crafted.png(2, 1, depth: 1, color: 3, rows: [0, 0b1000_0000], before: palette), channels: 3)
                == [4, 5, 6, 1, 2, 3])
    }

    @Test("hostile images are refused, and nothing ancillary is inflated")
    func refusesHostileImages() throws {
        let end = Crafted.chunk("IEND", [])
        let huge = Crafted.signature + Crafted.header(1 << 31, 1 << 31) + end
        let cases: [([UInt8], String)] = [
            (huge, "1 to 2048 rows"), (Crafted.signature + Crafted.header(0, 1) + end, "1 to 2048 rows"),
            (Crafted.signature + Crafted.header(1, 1, depth: 3) + end, "a depth and a colour type"),
            (Crafted.signature + Crafted.header(1, 1, color: 7) + end, "a depth and a colour type"),
            (Crafted.signature + Crafted.header(1, 1, interlaced: 1) + end, "not interlaced"),
            (Crafted.signature + Crafted.header(1, 1) + end, "end early"),
            (Crafted.png(2, 2, rows: [0, 1, 2]), "fewer"), (Crafted.png(2, 1, rows: [0, 1, 2, 3]), "more"),
            (Crafted.png(1, 1, rows: [5, 1]), "a filter of PNG"),
            (Crafted.png(1, 1, color: 3, rows: [0, 1]), "no palette"),
            (
                Crafted.png(1, 1, color: 3, rows: [0, 1], before: Crafted.chunk("PLTE", [1, 2, 3])),
                "indices below 1"
            ),
            (Crafted.png(1, 1, rows: [0, 1], before: Crafted.chunk("EVIL", [])), "a chunk of its own"),
        ]
        for (bytes, message) in cases {
            let error = #expect(throws: DataError.self) { try decode(bytes, channels: 3) }
            #expect(error?.description.contains(message) == true, "\(message): \(String(describing: error))")
        }
        // A profile that would inflate to gigabytes is passed over unread.
        let bomb = Crafted.chunk("iCCP", Array("x\0\0".utf8) + [UInt8](repeating: 0x78, count: 1000))
        #expect(try decode(Crafted.png(1, 1, rows: [0, 7], before: bomb)) == [7])
    }

    @Test("no changed byte and no cut brings it down")
    func survivesChanges() throws {
        let whole = Crafted.grey(9, 20, 20)
        for index in whole.indices {
            var changed = whole
            changed[index] ^= 0xFF
            do throws(DataError) { _ = try decode(changed, channels: 3) } catch {}
            #expect(throws: DataError.self, "\(index)") { try decode(Array(whole.prefix(index))) }
        }
    }
}

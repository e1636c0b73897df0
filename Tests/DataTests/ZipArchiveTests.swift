import Files
import Testing

@testable import Data

@Suite("An archive of NumPy is read, and a hostile one is refused") struct ZipArchiveTests {
    let source: IDXFolder
    let home: IDXFolder
    let catalogue: DatasetCatalogue

    init() throws {
        source = try IDXFolder()
        home = try IDXFolder()
        catalogue = DatasetCatalogue(folder: home.path + "/datasets")
    }

    static let arrays: [Crafted.Entry] = [
        .init(name: "x_train.npy", content: Crafted.npy([4, 2, 3], NPYReaderTests.trainImages)),
        .init(name: "y_train.npy", content: Crafted.npy([4], [0, 1, 2, 1])),
        .init(name: "x_test.npy", content: Crafted.npy([2, 2, 3], NPYReaderTests.testImages)),
        .init(name: "y_test.npy", content: Crafted.npy([2], [2, 0])),
    ]

    private func add(_ bytes: [UInt8], _ name: String = "small") throws -> DatasetInfo {
        try catalogue.add(
            name, from: source.put(bytes, as: "data.npz"), as: .npz(), id: "dst_\(name)", now: 0)
    }

    private func message(_ bytes: [UInt8]) throws -> String {
        try #require(throws: DataError.self) { try add(bytes) }.description
    }

    @Test("stored arrays, by Keras' names and by MedMNIST's, with a comment behind")
    func imports() throws {
        let info = try add(Crafted.zip(Self.arrays, comment: Array("PK\u{5}\u{6}".utf8)))
        #expect(info.format == "npz" && info.trainCount == 4 && info.testCount == 2)
        #expect(try catalogue.load("small").train.images?.images == NPYReaderTests.trainImages)
        let names = ["train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy"]
        let renamed = zip(Self.arrays, names).map { Crafted.Entry(name: $1, content: $0.content) }
        #expect(try add(Crafted.zip(renamed), "other").sha256 == info.sha256)
    }

    @Test("deflated arrays, as `numpy.savez_compressed` writes them")
    func inflates() throws {
        // Deflate data of one stored block: a final block (1), its length and its complement.
        let deflated = Self.arrays.map { entry in
            var entry = entry
            let count = entry.content.count
            entry.method = 8
            entry.stored = [1] + Crafted.little(count, 2) + Crafted.little(~count, 2) + entry.content
            return entry
        }
        #expect(try add(Crafted.zip(deflated)).trainCount == 4)
    }

    @Test("names that lead elsewhere, links, and doubled names are refused")
    func refusesNames() throws {
        for name in ["../x.npy", "/etc/passwd", "a/../../b", "..", "a\\b", "C:x", "a\nb"] {
            #expect(
                try message(Crafted.zip(Self.arrays + [.init(name: name, content: [1])]))
                    .contains("plain relative names"), "\(name)")
        }
        #expect(try message(Crafted.zip(Self.arrays + [Self.arrays[0]])).contains("each name once"))
        let link = Crafted.Entry(name: "link", content: Array("/etc/passwd".utf8), mode: 0o120777)
        #expect(try message(Crafted.zip(Self.arrays + [link])).contains("a link"))
    }

    @Test("entries that share bytes are refused, and those beyond the archive")
    func refusesOverlaps() throws {
        var second = Self.arrays[1]
        second.offset = 0
        #expect(try message(Crafted.zip([Self.arrays[0], second])).contains("side by side"))
        var entries = Self.arrays
        entries[3].offset = 1 << 30
        #expect(try message(Crafted.zip(entries)).contains("side by side"))
        entries = Self.arrays
        entries[0].offset = 7
        #expect(try message(Crafted.zip(entries)).contains("a local header"))
    }

    @Test("what would inflate beyond all measure is refused by its directory")
    func refusesBombs() throws {
        var bomb = Self.arrays[0]
        bomb.method = 8
        bomb.stored = [1, 0, 0, 0xFF, 0xFF]
        bomb.byteCount = 501
        #expect(try message(Crafted.zip([bomb])).contains("at most 100 times"))
        // Within the ratio, and then more than the directory says.
        let content = NPYReaderTests.trainImages
        bomb.stored = [1] + Crafted.little(content.count, 2) + Crafted.little(~content.count, 2) + content
        bomb.byteCount = 10
        let archive = try ZipArchive(source.put(Crafted.zip([bomb]), as: "more.npz"))
        let entry = try archive.open(#require(archive["x_train.npy"]))
        let error = #expect(throws: DataError.self) { try entry.readFully(1000) }
        #expect(error?.description.contains("expected 10 bytes, as the directory says, found more") == true)
    }

    @Test("a wrong checksum, a wrong size, encryption and other methods are refused")
    func refusesBrokenEntries() throws {
        func with(_ change: (inout Crafted.Entry) -> Void) throws -> String {
            var entries = Self.arrays
            change(&entries[0])
            return try message(Crafted.zip(entries))
        }
        #expect(try with { $0.checksum = 1 }.contains("checksum"))
        #expect(try with { $0.byteCount = 3 }.contains("at most 100 times"))
        #expect(try with { $0.flags = 1 }.contains("encrypted"))
        #expect(try with { $0.method = 12 }.contains("method 12"))
        #expect(try message(Crafted.zip(Self.arrays, count: 20_000)).contains("at most 10000 entries"))
        #expect(try message(Crafted.zip(Self.arrays, count: 5)).contains("something else in it"))
        let whole = Crafted.zip(Self.arrays)
        for length in stride(from: 0, to: whole.count, by: 7) {
            #expect(throws: DataError.self, "\(length)") { try add(Array(whole.prefix(length))) }
        }
    }

    @Test("no single changed byte brings it down")
    func survivesChanges() throws {
        let whole = Crafted.zip(Self.arrays)
        for index in whole.indices {
            var changed = whole
            changed[index] ^= 0xFF
            // Either it makes no difference, or it is refused.
            do { _ = try add(changed, "n\(index)") } catch is DataError {}
        }
    }
}

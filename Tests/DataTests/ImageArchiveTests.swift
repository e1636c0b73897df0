import Files
import Testing

@testable import Data

@Suite("A tar archive of PNG images becomes a dataset, or is refused by name") struct ImageArchiveTests {
    let source: IDXFolder
    let home: IDXFolder
    let catalogue: DatasetCatalogue

    init() throws {
        source = try IDXFolder()
        home = try IDXFolder()
        catalogue = DatasetCatalogue(folder: home.path + "/datasets")
    }

    private func add(_ parts: [[UInt8]], _ name: String = "small") throws -> DatasetInfo {
        let file = try source.put(Array(parts.joined()) + Crafted.tarEnd, as: "data.tar")
        return try catalogue.add(name, from: file, as: .images, id: "dst_\(name)", now: 0)
    }

    private func message(_ parts: [[UInt8]]) throws -> String {
        let error = try #require(throws: DataError.self) { try add(parts) }
        #expect(try catalogue.list().isEmpty && Folder.names(in: home.path + "/datasets").isEmpty)
        return error.description
    }

    static func image(_ path: String, _ value: UInt8) -> [UInt8] { Crafted.tar(path, Crafted.grey(value)) }

    static let small = [
        image("train/dog/1.png", 10), image("train/cat/1.png", 20), image("train/cat/2.png", 30),
        image("test/cat/1.png", 40),
    ]

    @Test("folders are classes in the order of their names; folders and hidden files are passed over")
    func imports() throws {
        let extras = [Crafted.tar("train/", [], type: "5"), Crafted.tar("train/cat/._1.png", [1, 2])]
        let info = try add(extras + Self.small)
        #expect(info.format == "images" && info.classNames == ["cat", "dog"])
        #expect(info.images?.shape == ImageShape(height: 2, width: 3, channels: 1))
        let dataset = try catalogue.load("small")
        #expect(dataset.train.images?.labels == [1, 0, 0] && dataset.test.images?.labels == [0])
        #expect(
            dataset.train.images?.images
                == [10, 20, 30].flatMap { [UInt8](repeating: $0, count: 6) })
    }

    @Test("compressed, with another folder around, and with long names of GNU and of pax")
    func readsVariants() throws {
        let plain = try add(Self.small)
        let long = "data/train/cat/" + String(repeating: "n", count: 150) + ".png"
        let parts = [
            Self.image("data/train/dog/1.png", 10),
            Crafted.tar("././@LongLink", Array(long.utf8) + [0], type: "L"), Self.image("data/short", 20),
            Crafted.pax(["mtime": "1.5", "path": "data/train/cat/2.png"]), Self.image("data/short", 30),
            Crafted.tar("cat/1.png", Crafted.grey(40), prefix: "data/test"),
        ]
        #expect(try add(parts, "other").sha256 == plain.sha256)
        try source.put(Array(Self.small.joined()) + Crafted.tarEnd, as: "packed.tar")
        try source.gzip("packed.tar")
        let packed = try catalogue.add(
            "packed", from: source.path + "/packed.tar.gz", as: .images, id: "dst_p", now: 0)
        #expect(packed.sha256 == plain.sha256)
    }

    @Test("the room of all files is asked for before the first is written, and they have just that size")
    func claims() throws {
        let file = try source.put(Array(Self.small.joined()) + Crafted.tarEnd, as: "data.tar")
        var claims: [Int] = []
        let error = try #require(throws: DataError.self) {
            try catalogue.add("small", from: file, as: .images, id: "dst_1", now: 0) {
                (byteCount) throws(DataError) in
                claims.append(byteCount)
                let written = try? Folder.byteCount(of: home.path + "/datasets")
                #expect(written == 0, "nothing is written yet")
                throw .noRoom("full")
            }
        }
        #expect(error == .noRoom("full") && claims.count == 1)
        #expect(try catalogue.list().isEmpty && Folder.names(in: home.path + "/datasets").isEmpty)
        _ = try add(Self.small)
        let place = home.path + "/datasets/dst_small"
        let written = try Folder.names(in: place).filter { $0 != "dataset.json" }
            .reduce(0) { $0 + (try Folder.byteCount(of: "\(place)/\($1)")) }
        #expect(claims == [written])
    }

    @Test("images that unpack to more than a hundredfold of their archive together are refused")
    func refusesBombs() throws {
        // Half a megabyte of zeros in some five hundred bytes: what gzip makes of them, framed as zlib does.
        let rows = [UInt8](repeating: 0, count: 256 * 2049)
        try source.put(rows, as: "rows")
        try source.gzip("rows")
        let packed = try readFile(source.path + "/rows.gz", limit: 1 << 16)
        let stream = [0x78, 0x01] + packed[10..<packed.count - 8] + Crafted.zlib(rows).suffix(4)
        let image =
            Crafted.signature + Crafted.header(2048, 256) + Crafted.chunk("IDAT", stream)
            + Crafted.chunk("IEND", [])
        let parts = (0..<4).flatMap { index in
            ["train", "test"].map { Crafted.tar("\($0)/cat/\(index).png", image) }
        }
        let found = try message(parts)
        #expect(found.contains("images of at most 100 times the archive's size together"), "\(found)")
        // One such image among others is one of them.
        let pixels = (0..<rows.count).map { $0 % 2049 == 0 ? 0 : UInt8($0 % 251) }
        let noise = Crafted.png(2048, 256, rows: pixels)
        let others = ["train", "test"].map { Crafted.tar("\($0)/dog/1.png", noise) }
        #expect(try add([parts[0]] + others).classNames == ["cat", "dog"])
    }

    @Test("without splits every tenth image of a class tests")
    func holdsOut() throws {
        #expect(try message([Self.image("a/1.png", 1)]).contains("images for testing"))
        let parts = ["a", "b"].flatMap { name in
            (0..<20).map { Self.image("\(name)/\($0).png", UInt8($0)) }
        }
        let info = try add(parts)
        #expect(info.trainCount == 36 && info.testCount == 4)
        let test = try catalogue.load("small").test.images
        #expect(test?.labels == [0, 0, 1, 1] && test?.images.first == 9 && test?.images.last == 19)
    }

    @Test("what is no plain file, and names that lead elsewhere, are refused")
    func refusesEntries() throws {
        let link = Crafted.tar("train/cat/l.png", [], type: "2", link: "/etc/passwd")
        #expect(try message(Self.small + [link]).contains("a link"))
        #expect(try message(Self.small + [Crafted.tar("x", [], type: "1", link: "y")]).contains("a link"))
        #expect(try message(Self.small + [Crafted.tar("x", [], type: "3")]).contains("a device"))
        #expect(try message(Self.small + [Crafted.tar("x", [], type: "S")]).contains("a kind of its own"))
        for name in ["../train/cat/1.png", "/train/cat/1.png", "train/../cat/1.png", "train/cat/a\\b.png"] {
            #expect(
                try message(Self.small + [Self.image(name, 1)]).contains("plain relative names"), "\(name)")
        }
        let pax = [Crafted.pax(["path": "../../etc/passwd"]), Self.image("train/cat/3.png", 1)]
        #expect(try message(Self.small + pax).contains("plain relative names"))
    }

    @Test("each file that does not fit is named, up to twenty")
    func namesFaults() throws {
        let faults = [
            Self.image("train/cat/2.png", 1), Crafted.tar("train/cat/x.txt", [1]),
            Crafted.tar("train/cat/y.png", [1]), Crafted.tar("train/cat/z.png", Crafted.grey(1, 4, 4)),
            Self.image("train/odd.png", 1), Self.image("cat/1.png", 1),
        ]
        let error = try #require(throws: DataError.self) { try add(Self.small + faults) }
        #expect(error.parts.count == faults.count, "\(error)")
        let many = (0..<50).map { Crafted.tar("train/cat/\($0).txt", []) }
        let capped = try #require(throws: DataError.self) { try add(Self.small + many) }
        #expect(capped.parts.count == 20)
    }

    @Test("sizes beyond the file and broken headers are refused, wherever it is cut")
    func refusesBrokenArchives() throws {
        #expect(
            try message([Crafted.tar("train/cat/1.png", [], size: 0o7777_7777_777)]).contains("more than"))
        #expect(try message([Crafted.tar("train/cat/1.png", [], size: 2000)]).contains("an early end"))
        var broken = Self.small[0]
        broken[3] ^= 1
        #expect(try message([broken]).contains("checksum"))
        let whole = Array(Self.small.joined())
        for length in stride(from: 1, to: whole.count, by: 97) where length % 512 != 0 {
            let file = try source.put(Array(whole.prefix(length)), as: "cut.tar")
            #expect(throws: DataError.self, "\(length)") {
                try catalogue.add("cut", from: file, as: .images, id: "dst_c", now: 0)
            }
        }
    }
}

import Files
import Testing

@testable import Data

@Suite("Arrays of NumPy become datasets of images, or are refused by name") struct NPYReaderTests {
    let source: IDXFolder
    let home: IDXFolder
    let catalogue: DatasetCatalogue

    init() throws {
        source = try IDXFolder()
        home = try IDXFolder()
        catalogue = DatasetCatalogue(folder: home.path + "/datasets")
    }

    static let trainImages = (0..<24).map { UInt8($0 * 10) }
    static let testImages = (0..<12).map { UInt8(255 - $0) }

    private func put(
        images: [UInt8] = Crafted.npy([4, 2, 3], trainImages),
        labels: [UInt8] = Crafted.npy([4], [0, 1, 2, 1]),
        testImages: [UInt8] = Crafted.npy([2, 2, 3], testImages),
        testLabels: [UInt8] = Crafted.npy([2], [2, 0])
    ) throws {
        try source.put(images, as: "x_train.npy")
        try source.put(labels, as: "y_train.npy")
        try source.put(testImages, as: "x_test.npy")
        try source.put(testLabels, as: "y_test.npy")
    }

    private func add(_ name: String = "small") throws -> DatasetInfo {
        let id = "dst_\(name)"
        return try catalogue.add(
            name, from: source.path, as: .npy(classNames: ["a", "b", "c"]), id: id, now: 0)
    }

    @Test("four arrays are the dataset that the same IDX files are")
    func imports() throws {
        try put()
        let info = try add()
        #expect(info.format == "npy" && info.images?.shape == ImageShape(height: 2, width: 3, channels: 1))
        #expect(info.trainCount == 4 && info.testCount == 2 && info.classNames == ["a", "b", "c"])
        let dataset = try catalogue.load("small")
        #expect(dataset.train.images?.images == Self.trainImages)
        #expect(dataset.test.images?.images == Self.testImages && dataset.test.images?.labels == [2, 0])
        try source.put(IDXFolder.bytes([4, 2, 3], Self.trainImages), as: "train-images-idx3-ubyte")
        try source.put(IDXFolder.bytes([4], [0, 1, 2, 1]), as: "train-labels-idx1-ubyte")
        try source.put(IDXFolder.bytes([2, 2, 3], Self.testImages), as: "t10k-images-idx3-ubyte")
        try source.put(IDXFolder.bytes([2], [2, 0]), as: "t10k-labels-idx1-ubyte")
        let same = try catalogue.add("idx", from: source.path, as: .idx(), id: "dst_idx", now: 0)
        #expect(same.sha256 == info.sha256)
    }

    /// The bytes of `values` in some element type of NumPy.
    private static func elements(_ values: [UInt8], _ descr: String) -> [UInt8] {
        values.flatMap { value -> [UInt8] in
            let bytes: [UInt8] =
                switch descr.dropFirst() {
                case "u1", "i1": [value]
                case "i2", "u2": Crafted.little(Int(value), 2)
                case "i4", "u4": Crafted.little(Int(value), 4)
                case "i8", "u8": Crafted.little(Int(value), 8)
                case "f4": Crafted.little(Int(Float(value).bitPattern), 4)
                default: Crafted.little(Int(Double(value).bitPattern), 8)
                }
            return descr.first == ">" ? bytes.reversed() : bytes
        }
    }

    @Test(
        "every integer and float type gives the same bytes, in either byte order",
        arguments: [
            "|u1", "<u2", ">u2", "<i2", "<i4", ">i4", "<u4", "<i8", ">u8", "<f4", ">f4", "<f8", ">f8",
        ])
    func readsTypes(descr: String) throws {
        for version: UInt8 in 1...3 {
            try put(
                images: Crafted.npy(
                    [4, 2, 3], Self.elements(Self.trainImages, descr), descr: "'\(descr)'", version: version),
                labels: Crafted.npy([4, 1], Self.elements([0, 1, 2, 1], descr), descr: "'\(descr)'"))
            _ = try add("v\(version)")
            let dataset = try catalogue.load("v\(version)")
            #expect(dataset.train.images?.images == Self.trainImages)
            #expect(dataset.train.images?.labels == [0, 1, 2, 1])
        }
    }

    @Test("images that were divided by 255 become bytes again")
    func readsFractions() throws {
        let content = Self.trainImages.flatMap { Crafted.little(Int((Float($0) / 255).bitPattern), 4) }
        try put(images: Crafted.npy([4, 2, 3], content, descr: "'<f4'"))
        _ = try add()
        #expect(try catalogue.load("small").train.images?.images == Self.trainImages)
        let others = [Float](repeating: 0.3, count: 24).flatMap { Crafted.little(Int($0.bitPattern), 4) }
        try put(images: Crafted.npy([4, 2, 3], others, descr: "'<f4'"))
        #expect(throws: DataError.self) { try add("other") }
        let none = [Double](repeating: .nan, count: 24).flatMap { Crafted.little(Int($0.bitPattern), 8) }
        try put(images: Crafted.npy([4, 2, 3], none, descr: "'<f8'"))
        #expect(throws: DataError.self) { try add("other") }
    }

    @Test("negative values and values above 255 are no bytes")
    func refusesOtherValues() throws {
        for bad in [[0, 1, 2, 0xFF], [0, 1, 2, 0x100]] as [[Int]] {
            let descr = bad[3] == 0xFF ? "'|i1'" : "'<i2'"
            let content = bad.flatMap { Crafted.little($0, bad[3] == 0xFF ? 1 : 2) }
            try put(labels: Crafted.npy([4], content, descr: descr))
            let error = try #require(throws: DataError.self) { try add() }
            #expect(error.description.contains("whole numbers from 0 to 255"))
        }
    }

    @Test("what no array of images can be is refused before anything is allocated")
    func refusesHostileHeaders() throws {
        let cases: [([UInt8], String)] = [
            // 65536² elements announced in 80 bytes; a product that wraps around to 4.
            (Array(Crafted.npy([65_536, 65_536], [], descr: "'|u1'").prefix(128)), "4294967296 bytes"),
            (Crafted.npy([4_194_305, 4_194_305, 211_106_198_978_564], [1, 2, 3, 4]), "extents from 1"),
            (
                Crafted.npy([2_000_000_000, 2_000_000_000, 2_000_000_000], []),
                "a product that can be counted"
            ),
            (Crafted.npy([0, 2, 3], []), "extents from 1"),
            (Crafted.npy([4, 2, 3], Array(Self.trainImages.dropLast())), "24 bytes"),
            (Crafted.npy([4, 2, 3], Self.trainImages + [0]), "24 bytes"),
            (Crafted.npy([1, 1, 1, 1, 1, 1, 1, 1, 1], [1]), "at most 8 dimensions"),
            (Crafted.npy([4, 2, 3], Self.trainImages, fortran: true), "C's order"),
            (Crafted.npy([4, 2, 3], Self.trainImages, descr: "'|O'"), "expected elements of"),
            (Crafted.npy([4, 2, 3], Self.trainImages, descr: "'<f2'"), "expected elements of"),
            (Crafted.npy([4, 2, 3], Self.trainImages, descr: "[('a', '|u1')]"), "'descr', 'fortran_order'"),
            (Crafted.npy([4, 2, 3], Self.trainImages, version: 4), "version 1.0, 2.0 or 3.0"),
            (Crafted.npy([], [], header: String(repeating: "{", count: 12_000)), "at most 10000 bytes"),
            (Crafted.npy([], [], header: "{'descr': __import__('os')}"), "'descr', 'fortran_order'"),
            (Crafted.npy([24], Self.trainImages), "images of [count, height, width]"),
            ([], "an empty file"), (Array("PK\u{3}\u{4}".utf8), "the bytes 504b0304"),
        ]
        for (bytes, message) in cases {
            try put(images: bytes)
            let error = try #require(throws: DataError.self) { try add() }
            #expect(error.description.contains(message), "\(error)")
            #expect(try catalogue.list().isEmpty && Folder.names(in: home.path + "/datasets").isEmpty)
        }
    }

    @Test("random shapes are counted as arithmetic without a limit counts them")
    func countsShapes() throws {
        // A product of factors below 2³² fits 64 bits exactly when the sum of the logarithms says so;
        // here the oracle multiplies digit by digit.
        var seed: UInt64 = 42
        func random(_ below: UInt64) -> Int {
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((seed >> 33) % below)
        }
        for _ in 0..<2000 {
            let shape = (0..<(1 + random(8))).map { _ in 1 + random(random(2) == 0 ? 9 : 2_147_483_000) }
            var digits: [UInt64] = [1]
            for extent in shape {
                var carry: UInt64 = 0
                for index in digits.indices {
                    carry += digits[index] * UInt64(extent)
                    digits[index] = carry & 0xFFFF_FFFF
                    carry >>= 32
                }
                if carry > 0 { digits.append(carry) }
            }
            let isCountable = digits.count < 2 || digits.count == 2 && digits[1] < 1 << 31
            let path = try source.put(Crafted.npy(shape, []), as: "x.npy")
            let error = try #require(throws: DataError.self) {
                let file = try FileSource(path)
                _ = try NPYReader(file, byteCount: file.byteCount)
            }
            #expect(error.description.contains("that can be counted") == !isCountable, "\(shape)")
        }
    }

    @Test("everything that is wrong is told at once")
    func tellsAll() throws {
        try put(images: [1], labels: Crafted.npy([2, 2], [1, 2, 3, 4]))
        let error = try #require(throws: DataError.self) { try add() }
        #expect(error.parts.count == 2)
        let empty = try IDXFolder()
        let missing = try #require(throws: DataError.self) {
            try catalogue.add("none", from: empty.path, as: .npy(), id: "dst_n", now: 0)
        }
        #expect(missing.parts.count == 4 && missing.description.contains("y_test.npy"))
    }
}

import Files
import Foundation
import JSON
import Testing

@testable import Data

/// Adds datasets to a catalogue of its own, in a folder that disappears with it.
final class TokenFolder {
    let folder: IDXFolder
    let catalogue: DatasetCatalogue

    init() throws {
        folder = try IDXFolder()
        catalogue = DatasetCatalogue(folder: folder.path + "/datasets", systemFolder: "/nowhere")
    }

    func put(_ text: String, as name: String) throws -> String { try folder.put(Array(text.utf8), as: name) }

    /// Adds the file `name` and decodes what was added.
    func add(_ name: String = "input", as format: DatasetFormat) throws -> Dataset {
        _ = try catalogue.add(
            "added", from: folder.path + "/" + name, as: format, id: "dst_1", now: 1700)
        return try catalogue.load("added")
    }

    /// What adding a file of these bytes says.
    func complaint(_ bytes: [UInt8], as format: DatasetFormat) throws -> String {
        let path = try folder.put(bytes, as: "input")
        let error = try #require(throws: DataError.self) { try add(as: format) }
        #expect(try Folder.names(in: folder.path + "/datasets").isEmpty, "a failed import leaves nothing")
        let place = folder.path + "/datasets/.import-dst_1/train."
        return error.description.replacingOccurrences(of: place + "txt", with: "FILE")
            .replacingOccurrences(of: place + "csv", with: "FILE").replacingOccurrences(
                of: path, with: "FILE")
    }
}

extension Dataset.Split {
    var text: [Int] {
        if case .text(let split) = self { split.tokens.map(Int.init) } else { [] }
    }
}

@Suite("A text file becomes tokens for language modelling") struct TextDatasetTests {
    let home: TokenFolder
    init() throws { home = try TokenFolder() }

    static func settings(_ unit: TokenUnit, fraction: Double = 0.1) -> TextSettings {
        TextSettings(unit: unit, validationFraction: fraction)
    }

    @Test("characters are numbered in the order of their scalars, the last tenth validates")
    func characters() throws {
        // Nine characters and one: é, the euro sign and an emoji take two, three and four bytes.
        _ = try home.put("b\na€é😀a\nbb" + "ab😀€\na\nbba", as: "input")
        let dataset = try home.add(as: .text(Self.settings(.char)))
        let vocabulary = try #require(dataset.vocabulary)
        #expect(vocabulary.entries == ["\n", "a", "b", "é", "€", "😀"])
        #expect(dataset.train.text == [2, 0, 1, 4, 3, 5, 1, 0, 2, 2, 1, 2, 5, 4, 0, 1, 0, 2])
        #expect(dataset.validation?.text == [2, 1] && dataset.test.text == [2, 1])
        #expect(dataset.info.counts == SplitCounts(train: 18, validation: 2, test: 2))
        #expect(dataset.info.classCount == 6 && dataset.info.byteCount == 40)
        #expect(vocabulary.encode("é\n€") == [3, 0, 4] && vocabulary.encode("z") == nil)
        #expect(vocabulary.decode([5, 2, 99, -1, 0]) == "😀b\n")
    }

    @Test("bytes are their own numbers")
    func bytes() throws {
        _ = try home.put("aé€\0", as: "input")
        let dataset = try home.add(as: .text(Self.settings(.byte, fraction: 0.5)))
        #expect(dataset.train.text == [0x61, 0xC3, 0xA9] && dataset.test.text == [0xE2, 0x82, 0xAC, 0])
        #expect(dataset.vocabulary?.count == 256 && dataset.info.vocabularySize == 256)
        #expect(dataset.vocabulary?.encode("é") == [0xC3, 0xA9])
        #expect(dataset.vocabulary?.decode([0xC3, 0xA9, 0x21]) == "é!")
    }

    @Test("strings that only look the same are different characters")
    func canonicalEquivalents() throws {
        // The Ångström sign and the letter Å are equal as Swift strings.
        _ = try home.put("\u{212B}\u{C5}\u{212B}\u{C5}", as: "input")
        let dataset = try home.add(as: .text(Self.settings(.char, fraction: 0.5)))
        #expect(dataset.train.text == [1, 0] && dataset.info.vocabularySize == 2)
        let stored = try #require(dataset.vocabulary)
        let copy = try #require(Vocabulary(stored.json))
        #expect(copy.encode("\u{212B}") == [1] && copy.encode("\u{C5}") == [0])
    }

    @Test("a folder may hold all three splits; one vocabulary serves them")
    func folderOfSplits() throws {
        try Folder.make(home.folder.path + "/splits")
        _ = try home.put("abab", as: "splits/train.txt")
        _ = try home.put("bc", as: "splits/validation.txt")
        _ = try home.put("dda", as: "splits/test.txt")
        let dataset = try home.add("splits", as: .text(Self.settings(.char)))
        #expect(dataset.train.text == [0, 1, 0, 1] && dataset.validation?.text == [1, 2])
        #expect(dataset.test.text == [3, 3, 0] && dataset.info.vocabularySize == 4)
        #expect(dataset.info.byteCount == 18)
        try Folder.removeFile(home.folder.path + "/splits/train.txt")
        let error = try #require(throws: DataError.self) {
            try home.catalogue.add(
                "other", from: home.folder.path + "/splits", as: .text(Self.settings(.char)), id: "dst_2",
                now: 0)
        }
        #expect(error.description.hasSuffix("/splits holds none of train.txt."))
    }

    @Test("the description survives a restart, also as JSON")
    func description() throws {
        _ = try home.put(String(repeating: "Any port in a storm. ", count: 20), as: "input")
        let info = try home.add(as: .text(Self.settings(.char))).info
        let again = DatasetCatalogue(folder: home.folder.path + "/datasets", systemFolder: "/nowhere")
        #expect(try again.list() == [info])
        let json = info.json
        #expect(json["kind"]?.stringValue == "text" && json["format"]?.stringValue == "text")
        #expect(json["tokens"]?["unit"]?.stringValue == "char")
        #expect(json["tokens"]?["vocabulary_size"]?.intValue == 13)
        #expect(json["tokens"]?["train"]?.intValue == 378)
        let preview = try #require(json["preview"]?.arrayValue?.first?["text"]?.stringValue)
        #expect(preview.hasPrefix("Any port in a storm. Any") && preview.unicodeScalars.count == 161)
    }

    @Test("other settings are another dataset, and changed files are noticed")
    func hashes() throws {
        _ = try home.put("to be or not to be", as: "input")
        var seen: Set<String> = []
        for (index, settings) in [
            Self.settings(.char), Self.settings(.byte), Self.settings(.char, fraction: 0.3),
        ].enumerated() {
            let info = try home.catalogue.add(
                "d\(index)", from: home.folder.path + "/input", as: .text(settings), id: "dst_\(index)",
                now: 0)
            #expect(seen.insert(info.sha256).inserted)
        }
        try AtomicFile.write("to be or not to by", to: home.folder.path + "/datasets/dst_1/train.txt")
        let error = try #require(throws: DataError.self) { try home.catalogue.load("d1") }
        #expect(error.description.hasPrefix("The files of dataset \"d1\" changed: expected SHA-256 "))
    }

    @Test(
        "what is no text is refused with its place",
        arguments: [
            ([], "expected UTF-8 text, found an empty file."),
            ([0x61], "expected text of at least 2 tokens for training, found 0."),
            ([0x61, 0x62, 0x63], "expected text of at least 2 tokens for validation, found 1."),
            ([0x61, 0x62, 0xFF, 0x63], "expected UTF-8, found the byte 0xff at offset 2."),
            // Cut short, overlong, a surrogate, above the last scalar, a lone continuation.
            ([0x61, 0xE2, 0x82], "expected UTF-8, found the byte 0xe2 at offset 1."),
            ([0xC0, 0x80], "expected UTF-8, found the byte 0xc0 at offset 0."),
            ([0xE0, 0x9F, 0xBF], "expected UTF-8, found the byte 0xe0 at offset 0."),
            ([0x0A, 0xED, 0xA0, 0x80], "expected UTF-8, found the byte 0xed at offset 1."),
            ([0xF4, 0x90, 0x80, 0x80], "expected UTF-8, found the byte 0xf4 at offset 0."),
            ([0x80], "expected UTF-8, found the byte 0x80 at offset 0."),
        ] as [([UInt8], String)])
    func refused(bytes: [UInt8], complaint: String) throws {
        #expect(try home.complaint(bytes, as: .text(Self.settings(.char))) == "FILE: " + complaint)
    }

    @Test("every scalar there is comes through, and no other sequence of bytes does")
    func allScalars() throws {
        let scalars = (0..<UInt32(UTF8Text.scalarRange)).compactMap(Unicode.Scalar.init)
        var text = ""
        text.unicodeScalars.append(contentsOf: scalars)
        #expect(UTF8Text.fault(in: Array(text.utf8)) == nil)
        var seen = [UInt8](repeating: 0, count: UTF8Text.scalarRange)
        #expect(UTF8Text(checked: Array(text.utf8)).markScalars(in: &seen) == scalars.count)
        #expect(scalars.allSatisfy { seen[Int($0.value)] == 1 })
        #expect(seen.count { $0 == 1 } == scalars.count)
        #expect(UTF8Text(checked: Array(text.utf8)).scalarCount == scalars.count)
        // Two bytes: the decoder of the standard library is the oracle.
        for first in UInt8.min...UInt8.max {
            for second in stride(from: UInt8(0), through: 255, by: 5) {
                let isValid = String(validating: [first, second], as: UTF8.self) != nil
                #expect((UTF8Text.fault(in: [first, second]) == nil) == isValid, "\(first) \(second)")
            }
        }
    }

    @Test("more than 65,536 different characters are refused")
    func tooManyCharacters() throws {
        var text = ""
        for value in UInt32(0)..<70_000 { Unicode.Scalar(value).map { text.unicodeScalars.append($0) } }
        let said = try home.complaint(Array(text.utf8), as: .text(Self.settings(.char)))
        #expect(said == "FILE: expected at most 65536 different characters, found 67952.")
    }

    @Test("a path tells its format")
    func guessing() throws {
        try Folder.make(home.folder.path + "/splits")
        func guess(_ name: String) -> DatasetFormat.Name { .init(guessedFrom: home.folder.path + name) }
        #expect(guess("/splits") == .idx && guess("/a.CSV") == .csv && guess("/a.txt") == .text)
        _ = try home.put("x", as: "splits/train.txt")
        #expect(guess("/splits") == .text)
        _ = try home.put("x", as: "splits/train.csv")
        #expect(guess("/splits") == .csv)
    }

    @Test("settings out of range, words, and what has no end are refused")
    func badSettings() throws {
        let text = Array("abcdefgh".utf8)
        for fraction in [0, -0.1, 0.51, .nan] {
            let said = try home.complaint(text, as: .text(Self.settings(.char, fraction: fraction)))
            #expect(said == "Expected a validation fraction above 0 and up to 0.5, found \(fraction).")
        }
        let words = try home.complaint(text, as: .text(Self.settings(.word)))
        #expect(words == "Expected tokens of byte or char for running text, found word.")
        let endless = try #require(throws: DataError.self) {
            try home.catalogue.add(
                "zero", from: "/dev/zero", as: .text(Self.settings(.byte)), id: "dst_1", now: 0)
        }
        #expect(endless.description == "/dev/zero: expected a file, found something else.")
    }

    @Test("a file of three gigabytes is refused before it is read or copied")
    func hugeFile() throws {
        let path = try home.put("", as: "input")
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.truncate(atOffset: 3 << 30)
        try handle.close()
        for format in [DatasetFormat.text(Self.settings(.byte)), .csv(Self.settings(.byte))] {
            let error = try #require(throws: DataError.self) { try home.add(as: format) }
            #expect(error.description == "\(path) holds more than the 1073741824 bytes allowed.")
        }
    }

    /// The folder with data that is too large to be kept here.
    static let shared = ProcessInfo.processInfo.environment["VINTNER_TEST_DATA"] ?? ""

    @Test(
        "Tiny Shakespeare has nanoGPT's figures",
        .enabled(if: FileManager.default.fileExists(atPath: shared + "/tinyshakespeare.txt")))
    func tinyShakespeare() throws {
        let info = try home.catalogue.add(
            "shakespeare", from: Self.shared + "/tinyshakespeare.txt", as: .text(Self.settings(.char)),
            id: "dst_1", now: 0)
        // As its data/shakespeare_char/prepare.py prints.
        #expect(info.vocabularySize == 65 && info.trainCount == 1_003_854 && info.validationCount == 111_540)
        let dataset = try home.catalogue.load("shakespeare")
        let letters = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        #expect(dataset.vocabulary?.entries == letters.map { String($0) })
        #expect(dataset.vocabulary?.decode(dataset.train.text.prefix(14).map(Int32.init)) == "First Citizen:")
    }
}

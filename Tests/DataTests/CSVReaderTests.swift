import Testing

@testable import Data

@Suite("CSV is read as RFC 4180 says") struct CSVReaderTests {
    private func read(_ bytes: [UInt8]) throws -> [(record: CSVReader.Record, fields: [String])] {
        var reader = try CSVReader(bytes, of: "f.csv")
        var records: [(record: CSVReader.Record, fields: [String])] = []
        while let record = try reader.next() {
            let fields = reader.fields.map { String(decoding: reader.bytes[$0], as: UTF8.self) }
            records.append((record, fields))
        }
        return records
    }

    private func rows(_ text: String) throws -> [[String]] { try read(Array(text.utf8)).map(\.fields) }

    private func complaint(_ text: String) throws -> String {
        try #require(throws: DataError.self) { try read(Array(text.utf8)) }.description
    }

    @Test(
        "fields, quotes and line ends",
        arguments: [
            ("a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
            ("a,b\r\n1,2", [["a", "b"], ["1", "2"]]),
            ("\"a,b\",\"say \"\"hi\"\"\"\n", [["a,b", "say \"hi\""]]),
            ("\"two\nlines\",x\r\n\"two\r\nlines\",y", [["two\nlines", "x"], ["two\r\nlines", "y"]]),
            (",\n,,\n", [["", ""], ["", "", ""]]),
            ("\"\",x\n\"\"\"\"\n", [["", "x"], ["\""]]),
            ("a\n\nb\n", [["a"], [""], ["b"]]),
            ("\u{FEFF}a,b\n", [["a", "b"]]),
            (" a , b \n", [[" a ", " b "]]),
            ("a\rb,c", [["a\rb", "c"]]),
            ("x,\n", [["x", ""]]),
            ("x,", [["x", ""]]),
            ("é,😀\n", [["é", "😀"]]),
        ])
    func fields(text: String, expected: [[String]]) throws {
        #expect(try rows(text) == expected)
    }

    @Test("a record knows the line it starts in")
    func lines() throws {
        let records = try read(Array("a\n\"b\n\nb\"\n\nc\r\nd".utf8)).map(\.record)
        #expect(records.map(\.line) == [1, 2, 5, 6, 7])
        #expect(records.map(\.isBlank) == [false, false, true, false, false])
    }

    @Test("faults name their line")
    func faults() throws {
        #expect(try complaint("") == "f.csv: expected a line with the columns' names, found an empty file.")
        #expect(
            try complaint("a,b\n1,\"open\n\n")
                == "f.csv, line 2: expected a quote that ends the field, found the end of the file.")
        #expect(
            try complaint("a\n\n\"x\"y\n")
                == "f.csv, line 3: expected a comma or the line's end behind a closing quote, found "
                + "something else.")
        #expect(
            try complaint("a\nx\"y\n")
                == "f.csv, line 2: expected quotes around a field that holds a quote, and the quote doubled, "
                + "found a quote inside a field without.")
        let bytes = Array("a\nb\nc".utf8) + [0xFE]
        #expect(
            try #require(throws: DataError.self) { try read(bytes) }.description
                == "f.csv, line 3: expected UTF-8, found the byte 0xfe at offset 5.")
        #expect(
            try complaint("a\n" + String(repeating: ",", count: 256))
                == "f.csv, line 2: expected at most 256 fields, found more.")
        for text in [String(repeating: "x", count: 1 << 21), "\"" + String(repeating: "x", count: 1 << 21)] {
            #expect(
                try complaint("a\n" + text)
                    == "f.csv, line 2: expected a record of at most 1048576 bytes, found a longer one.")
        }
    }

    @Test("what is written with quotes is read back", arguments: 0..<40)
    func roundTrip(seed: Int) throws {
        var random = SeededText(seed: UInt64(seed))
        let expected = (0..<7).map { _ in (0..<3).map { _ in random.next() } }
        let text = expected.map { row in
            row.map { "\"" + $0.replacing("\"", with: "\"\"") + "\"" }.joined(separator: ",")
        }.joined(separator: seed % 2 == 0 ? "\n" : "\r\n")
        #expect(try rows(text) == expected)
    }
}

import Files
import JSON
import Testing

@testable import Data

extension Dataset.Split {
    var sequences: SequenceSplit? {
        if case .sequences(let split) = self { split } else { nil }
    }
}

extension SequenceSplit {
    func tokens(of sequence: Int) -> [UInt16] { Array(tokens[range(of: sequence)]) }
}

@Suite("A CSV file becomes labelled sequences") struct SequenceDatasetTests {
    let home: TokenFolder
    init() throws { home = try TokenFolder() }

    static func settings(_ unit: TokenUnit, limit: Int = 30_000) -> TextSettings {
        TextSettings(unit: unit, validationFraction: 0.25, vocabularyLimit: limit)
    }

    private func complaint(_ text: String, _ unit: TokenUnit = .char) throws -> String {
        try home.complaint(Array(text.utf8), as: .csv(Self.settings(unit)))
    }

    /// A folder with one file per split, so that nothing is drawn.
    private func putSplits(_ train: String, _ validation: String, test: String? = nil) throws {
        try Folder.make(home.folder.path + "/splits")
        _ = try home.put(train, as: "splits/train.csv")
        _ = try home.put(validation, as: "splits/validation.csv")
        if let test { _ = try home.put(test, as: "splits/test.csv") }
    }

    @Test("words are numbered by falling frequency behind padding and the unknown one")
    func words() throws {
        try putSplits(
            "text,label\n\"the cat, the dog\",pet\nthe tree,plant\n", "label,text\nplant,the cat's tree\n")
        let dataset = try home.add("splits", as: .csv(Self.settings(.word)))
        // "the" thrice; the others once, in the order of their bytes.
        #expect(dataset.vocabulary?.entries == ["the", ",", "cat", "dog", "tree"])
        #expect(dataset.info.vocabularySize == 7 && dataset.info.classNames == ["pet", "plant"])
        let train = try #require(dataset.train.sequences)
        #expect(train.tokens(of: 0) == [2, 4, 3, 2, 5] && train.tokens(of: 1) == [2, 6])
        #expect(train.labels == [0, 1])
        let validation = try #require(dataset.validation?.sequences)
        #expect(validation.tokens(of: 0) == [2, 1, 6] && validation.labels == [1])
        #expect(dataset.test.sequences?.labels == [1], "without a file of its own it is the validation split")
        #expect(dataset.info.counts == SplitCounts(train: 2, validation: 1, test: 1))
        #expect(dataset.vocabulary?.encode("the zoo") == [2, 1])
        #expect(dataset.vocabulary?.decode([2, 1, 6, 0]) == "the <unk> tree")
    }

    @Test(
        "a word is a run of letters and digits, with apostrophes inside",
        arguments: [
            ("", []), (" \t\n", []), ("don't stop", ["don't", "stop"]), ("'quoted'", ["'", "quoted", "'"]),
            ("3.5 km/h", ["3", ".", "5", "km", "/", "h"]),
            ("Zürich ist schön!", ["Zürich", "ist", "schön", "!"]),
            ("e\u{301}te\u{301}", ["e\u{301}te\u{301}"]), ("snake_case", ["snake_case"]),
            ("“so”", ["“", "so", "”"]), ("l’été", ["l’été"]), ("a''b", ["a", "'", "'", "b"]),
        ] as [(String, [String])])
    func wordBoundaries(text: String, expected: [String]) {
        #expect(Words.split(text) == expected.map { Array($0.utf8) })
    }

    @Test("words are counted as a dictionary counts them, whatever they are", arguments: 0..<20)
    func wordCounts(seed: Int) {
        var random = SeededText(seed: UInt64(seed))
        let text = (0..<400 << (seed % 4)).map { _ in random.next() }.joined(separator: " ")
        let bytes = Array(text.utf8)
        var counts = WordCounts()
        var words = Words(at: bytes.indices)
        while let word = words.next(in: bytes) { counts.add(word, in: bytes) }
        let expected = Dictionary(Words.split(text).map { ($0, 1) }, uniquingKeysWith: +)
        #expect(counts.count == expected.count)
        let sorted = expected.sorted {
            $0.value != $1.value ? $0.value > $1.value : $0.key.lexicographicallyPrecedes($1.key)
        }.map(\.key)
        for limit in [1, 2, 7, expected.count / 2, expected.count, expected.count + 1] {
            let found = counts.mostFrequent(limit, in: bytes).map { Array(bytes[$0]) }
            #expect(found == Array(sorted.prefix(limit)), "the first \(limit) of \(expected.count)")
        }
    }

    @Test("a vocabulary of words keeps the most frequent ones")
    func vocabularyLimit() throws {
        try putSplits("text,label\na a a b b c,x\nd,y\n", "text,label\nc,x\n")
        let dataset = try home.add("splits", as: .csv(Self.settings(.word, limit: 4)))
        #expect(dataset.vocabulary?.entries == ["a", "b"] && dataset.vocabulary?.count == 4)
        #expect(dataset.train.sequences?.tokens == [2, 2, 2, 3, 3, 1, 1])
    }

    @Test("characters and bytes leave number 0 to padding")
    func charactersAndBytes() throws {
        try putSplits("text,label\nbé,x\nb,y\n", "text,label\nbz,x\n")
        let characters = try home.add("splits", as: .csv(Self.settings(.char)))
        #expect(characters.vocabulary?.entries == ["b", "é"])
        #expect(characters.train.sequences?.tokens == [2, 3, 2])
        #expect(characters.validation?.sequences?.tokens == [2, 1])
        let bytes = try home.catalogue.add(
            "bytes", from: home.folder.path + "/splits", as: .csv(Self.settings(.byte)), id: "dst_2", now: 0)
        #expect(bytes.vocabularySize == 257)
        #expect(try home.catalogue.load("bytes").train.sequences?.tokens == [0x63, 0xC4, 0xAA, 0x63])
    }

    @Test("labels that are numbers are ordered as numbers, others by their bytes")
    func classOrder() throws {
        try putSplits("text,label\na,10\nb,9\nc,-1\n", "text,label\na,9\n")
        #expect(try home.add("splits", as: .csv(Self.settings(.char))).info.classNames == ["-1", "9", "10"])
        try AtomicFile.write("text,label\na,10\nb,9\nc,x\n", to: home.folder.path + "/splits/train.csv")
        let mixed = try home.catalogue.add(
            "mixed", from: home.folder.path + "/splits", as: .csv(Self.settings(.char)), id: "dst_2", now: 0)
        #expect(mixed.classNames == ["10", "9", "x"])
    }

    @Test("one file is split by the rows, always the same way")
    func drawnSplit() throws {
        let rows = (0..<40).map { "row \($0),\($0 % 3)\n" }.joined()
        _ = try home.put("text,label\n" + rows, as: "input")
        let dataset = try home.add(as: .csv(Self.settings(.word)))
        #expect(dataset.info.counts == SplitCounts(train: 30, validation: 10, test: 10))
        let parts = Batcher.setAside(0.25, of: 40, seed: 0)
        #expect(dataset.train.sequences?.labels == parts.train.map { UInt16($0 % 3) })
        #expect(dataset.validation?.sequences?.labels == parts.validation.map { UInt16($0 % 3) })
    }

    @Test("one token a line: blank lines and the sentence column separate")
    func tokens() throws {
        try putSplits(
            "token,label\nAda,PER\nsleeps,O\n\n\nIn,O\nBonn,LOC\n",
            "sentence,token,label\n1,Ada,PER\n,in,O\n1,Rome,LOC\n2,Bonn,LOC\n",
            test: "token,label\nBonn,LOC")
        let dataset = try home.add("splits", as: .csv(Self.settings(.word)))
        #expect(
            dataset.info.classNames == ["LOC", "O", "PER"] && dataset.info.kindName == "token_classification")
        #expect(dataset.vocabulary?.entries == ["Ada", "Bonn", "In", "sleeps"])
        let train = try #require(dataset.train.sequences)
        #expect(train.tokens(of: 0) == [2, 5] && train.tokens(of: 1) == [4, 3] && train.count == 2)
        #expect(train.labels == [2, 1, 1, 0])
        let validation = try #require(dataset.validation?.sequences)
        #expect(validation.tokens(of: 0) == [2, 1, 1] && validation.tokens(of: 1) == [3])
        #expect(dataset.info.counts == SplitCounts(train: 2, validation: 2, test: 1))
        guard case .sequences(let info) = dataset.info.kind else {
            Issue.record("another kind")
            return
        }
        #expect(info.tokenCounts == SplitCounts(train: 4, validation: 4, test: 1) && info.longest == 3)
        #expect(info.preview.first == SamplePreview("Ada sleeps", label: "PER O"))
    }

    @Test("the description survives a restart, also as JSON")
    func description() throws {
        try putSplits("text,label\nhello there,a\nbye,b\n", "text,label\nhello,a\n")
        let info = try home.add("splits", as: .csv(Self.settings(.word))).info
        let again = DatasetCatalogue(folder: home.folder.path + "/datasets", systemFolder: "/nowhere")
        #expect(try again.list() == [info])
        #expect(info.json["kind"]?.stringValue == "text_classification" && info.format == "csv")
        #expect(info.json["preview"]?.arrayValue?.first?["label"]?.stringValue == "a")
        #expect(info.json["tokens"]?["train"]?.intValue == 3 && info.json["longest"]?.intValue == 2)
    }

    @Test("what cannot be learned from is refused with its line")
    func faults() throws {
        #expect(
            try complaint("text,class\na,b\n")
                == "FILE, line 1: expected a column \"label\" and a column \"text\" or \"token\", found "
                + "\"text\", \"class\".")
        #expect(
            try complaint("text,label\na,b\nc\n")
                == "FILE, line 3: expected 2 fields, as in the first line, found 1.")
        #expect(
            try complaint("text,label\na,b\n\nc,d,e\n")
                == "FILE, line 4: expected 2 fields, as in the first line, found 3.")
        #expect(
            try complaint("text,label\na,\n") == "FILE, line 2: expected a label of 1 to 256 bytes, found 0.")
        #expect(
            try complaint("text,label\na,x\n,y\n")
                == "FILE, line 3: expected a text or token, found an empty field.")
        #expect(
            try complaint("text,label\n")
                == "FILE: expected rows behind the columns' names, found none.")
        #expect(
            try complaint("text,label\na,b\n")
                == "FILE: expected at least 2 samples, one of them for validation, found 1.")
        #expect(
            try complaint("text,label\na,b\nc,b\n") == "FILE: expected at least 2 different labels, found 1.")
        #expect(
            try complaint("text,label\na,b\n\"c,d\n")
                == "FILE, line 3: expected a quote that ends the field, found the end of the file.")
        #expect(
            try complaint("token,label\na,b\n\nc,d\n", .char)
                == "Expected tokens of word where each line of a file is one token, found char.")
    }

    @Test("a label that training does not know is refused with its line")
    func unknownLabel() throws {
        try putSplits("text,label\na,x\nb,y\n", "text,label\na,x\n\nb,z\n")
        let error = try #require(throws: DataError.self) {
            try home.add("splits", as: .csv(Self.settings(.char)))
        }
        #expect(
            error.description.hasSuffix(
                "validation.csv, line 4: expected a label of the training file, found \"z\"."))
    }

    @Test("files of different kinds do not make a dataset")
    func mixedKinds() throws {
        try putSplits("text,label\na,x\nb,y\n", "token,label\na,x\n")
        let error = try #require(throws: DataError.self) {
            try home.add("splits", as: .csv(Self.settings(.word)))
        }
        #expect(
            error.description.hasSuffix(
                "expected the columns of the training file, found a column \"token\"."))
    }

    @Test("65,536 classes are many enough, one more is refused with its line")
    func tooManyClasses() throws {
        func text(_ count: Int) -> String { "text,label\n" + (0..<count).map { "a,\($0)\n" }.joined() }
        #expect(
            try complaint(text(65_537), .byte)
                == "FILE, line 65538: expected at most 65536 different labels, found one more.")
        _ = try home.put(text(65_536), as: "input")
        let dataset = try home.add(as: .csv(Self.settings(.byte)))
        #expect(dataset.info.classCount == 65_536 && dataset.info.classNames.last == "65535")
        #expect(dataset.train.sequences?.labels.max() == 65_535)
    }
}

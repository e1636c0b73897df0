import Foundation

/// One file of the repository, read once, with the views that the rules look at.
struct SourceFile: Sendable {
    /// Relative to the root: `Sources/Tensor/Arena.swift`.
    let path: String
    let lines: [String]
    /// The text with comments and string literals blanked out, every line break kept.
    let code: SwiftCode

    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
    var name: String { path.split(separator: "/").last.map(String.init) ?? "" }

    init(path: String, text: String) {
        self.path = path
        self.code = SwiftCode(text)
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        self.lines = lines
    }

    /// The modules that the file imports.
    var imports: Set<String> {
        let kinds: Set = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
        var found: Set<String> = []
        for (index, word) in code.words.enumerated() where word.text == "import" {
            var next = index + 1
            if next < code.words.count, kinds.contains(code.words[next].text) { next += 1 }
            if next < code.words.count { found.insert(code.words[next].text) }
        }
        return found
    }
}

/// The repository as the tests see it.
enum Repository {
    static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Every Swift file of the product.
    static let sources = swift(below: "Sources")
    /// Every Swift file of the tests.
    static let tests = swift(below: "Tests")
    /// The folders of Sources/, each one target.
    static let targets = Set(
        paths(below: "Sources").compactMap { $0.split(separator: "/").dropFirst().first }
    )
    .map(String.init).sorted()

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appending(path: path).path)
    }

    /// The files below a folder, hidden ones left out, as paths relative to the root.
    static func paths(below folder: String) -> [String] {
        let below = root.appending(path: folder).path
        let found = (try? FileManager.default.subpathsOfDirectory(atPath: below)) ?? []
        return found.filter { path in
            let isHidden = path.split(separator: "/").contains { $0.hasPrefix(".") || $0 == "__pycache__" }
            let attributes = try? FileManager.default.attributesOfItem(atPath: below + "/" + path)
            return !isHidden && attributes?[.type] as? FileAttributeType == .typeRegular
        }.map { "\(folder)/\($0)" }.sorted()
    }

    private static func swift(below folder: String) -> [SourceFile] {
        paths(below: folder).filter { $0.hasSuffix(".swift") }.compactMap { path in
            (try? text(path)).map { SourceFile(path: path, text: $0) }
        }
    }
}

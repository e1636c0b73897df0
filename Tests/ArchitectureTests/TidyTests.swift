import Testing

@Suite("The sources are tidy") struct TidyTests {
    /// The only places where a pointer type may be named: kernels, and one wrapper per C library.
    static let pointerFiles: [String] = [
        "Sources/Assets/EmbeddedFile.swift",
        "Sources/Tensor/Arena.swift",
        "Sources/Kernels/",
        "Sources/Files/Descriptor.swift", "Sources/Files/ZlibStream.swift", "Sources/Files/Folder.swift",
        "Sources/Threads/", "Sources/Data/Pixels.swift",
        "Sources/TLS/", "Sources/HTTP/Trampolines.swift", "Sources/vintner/Client/Connection.swift",
        "Sources/vintner/Webhooks/WebhookConnection.swift", "Sources/vintner/Webhooks/NameLookup.swift",
    ]

    @Test("pointer types stay in their files") func pointersStayInTheirFiles() {
        for file in Repository.sources where !Self.pointerFiles.contains(where: file.path.hasPrefix) {
            for word in file.code.words where Self.isPointerType(word.text) {
                Issue.record("\(file.path):\(word.line) names \(word.text)")
            }
        }
    }

    static func isPointerType(_ word: String) -> Bool {
        word == "OpaquePointer" || word == "Unmanaged"
            || (word.hasPrefix("Unsafe") && word.hasSuffix("Pointer"))
    }

    @Test("nothing is forced") func nothingIsForced() {
        for file in Repository.sources {
            for line in file.code.forcedLines { Issue.record("\(file.path):\(line) forces a value") }
        }
    }

    @Test("nothing prints or kills the process on the side") func nothingPrintsOrTraps() {
        let calls: Set = ["print", "debugPrint", "fatalError", "dump"]
        let parenthesis = UInt8(ascii: "(")
        for file in Repository.sources {
            for word in file.code.words where calls.contains(word.text) && word.after == parenthesis {
                if word.before == UInt8(ascii: ".") { continue }
                Issue.record("\(file.path):\(word.line) calls \(word.text)")
            }
        }
    }

    @Test("files, functions and lines keep their limits") func limitsAreKept() {
        for file in Repository.sources + Repository.tests {
            #expect(file.lines.count <= 400, "\(file.path) has \(file.lines.count) lines")
            for (number, line) in file.lines.enumerated() where line.count > 110 {
                Issue.record("\(file.path):\(number + 1) is \(line.count) columns wide")
            }
        }
        for file in Repository.sources {
            for function in file.code.functions where function.lineCount > 70 {
                Issue.record("\(file.path):\(function.line) is a function of \(function.lineCount) lines")
            }
        }
    }

    @Test("every Swift target says what it is for, in at most 40 lines")
    func everyTargetHasAReadme() throws {
        for target in Set(Repository.sources.map(\.target)).sorted() {
            let path = "Sources/\(target)/README.md"
            try #require(Repository.exists(path), "\(path) is missing")
            let lines = try Repository.text(path).split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.count > 3 && lines.count <= 41, "\(path) has \(lines.count) lines")
        }
    }

    @Test("nothing is left for later") func nothingIsLeftForLater() {
        let marks: Set = ["TODO", "FIXME", "XXX", "HACK"]
        for file in Repository.sources + Repository.tests where file.target != "ArchitectureTests" {
            #expect(file.name != "Placeholder.swift", "\(file.path) was never filled in")
            for (number, line) in file.lines.enumerated() {
                let words = line.split { !SwiftCode.isWord($0.utf8.first ?? 0) }
                for word in words where marks.contains(String(word)) {
                    Issue.record("\(file.path):\(number + 1) says \(word)")
                }
            }
        }
    }

    @Test("a promise to the compiler comes with its reason") func promisesHaveReasons() {
        for file in Repository.sources {
            for (number, line) in file.lines.enumerated() {
                let code = line.prefix { $0 != "\"" }
                guard code.contains("@unchecked Sendable") || code.contains("nonisolated(unsafe)") else {
                    continue
                }
                if code.drop(while: { $0 == " " }).hasPrefix("//") { continue }
                let above = file.lines[max(0, number - 2)..<number].map { $0.drop { $0 == " " } }
                let isExplained = above.contains { $0.hasPrefix("//") } || line.contains("  // ")
                #expect(isExplained, "\(file.path):\(number + 1) gives no reason")
            }
        }
    }

    @Test("no path of somebody's machine is written down") func noForeignPaths() throws {
        let folders = ["Sources", "Tests", "Public", "migrations", "docs", "scripts", "Benchmarks"]
        let files =
            folders.flatMap(Repository.paths) + ["README.md", "CHANGELOG.md", "Makefile", "Dockerfile"]
        let kinds = [".swift", ".c", ".h", ".js", ".css", ".html", ".sql", ".md", ".sh", ".py", "file"]
        for path in files where kinds.contains(where: path.hasSuffix) && Repository.exists(path) {
            let text = try Repository.text(path)
            for place in ["/" + "work/", "/" + "tmp/wt", ".." + "/shared", "/" + "home/"] {
                #expect(!text.contains(place), "\(path) names \(place)")
            }
        }
    }
}

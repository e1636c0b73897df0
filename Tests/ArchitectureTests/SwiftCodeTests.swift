import Testing

@Suite("The scanner tells code from prose") struct SwiftCodeTests {
    private func words(_ text: String) -> [String] { SwiftCode(text).words.map(\.text) }

    @Test("comments vanish, nested ones too") func commentsVanish() {
        #expect(words("a // print(x)\nb /* c /* d */ e */ f") == ["a", "b", "f"])
    }

    @Test("strings vanish, interpolated code stays") func stringsVanish() {
        #expect(words(#"a("try! \(b["c)"]) d", e)"#) == ["a", "b", "e"])
        #expect(words("a(#\"x\" \\(y) \\#(z)\"#)") == ["a", "z"])
        #expect(words("a = \"\"\"\n  \"quoted\" words\n  \"\"\"\nb") == ["a", "b"])
        #expect(words(#"a("\\") + b"#) == ["a", "b"])
    }

    @Test("lines are counted through what vanished") func linesAreCounted() {
        #expect(SwiftCode("/* 1\n2 */\n\"\"\"\n4\n\"\"\"\nlast").words.last?.line == 6)
    }

    @Test("force is found, inequality and negation are not") func forceIsFound() {
        #expect(SwiftCode("let a = b!\nlet c = d as! E\nlet f = g()!.h").forcedLines == [1, 2, 3])
        #expect(SwiftCode("if a != b, !c, a!=b { d = !e } // f!").forcedLines == [])
        #expect(SwiftCode("var a: [Int]!").forcedLines == [1])
        #expect(SwiftCode("_ = try! a()").forcedLines == [1])
    }

    @Test("function lengths follow the braces") func functionLengths() {
        let text = """
            protocol P {
                func a() -> Int
                func b(_ c: () -> Void)
            }
            struct S {
                init() { }
                func d(
                    e: Int
                ) -> Int {
                    if e > 0 { return 1 }
                    return 2
                }
                func f() throws(G)
                where H: I {
                }
            }
            """
        let functions = SwiftCode(text).functions
        #expect(functions.map(\.line) == [6, 7, 13])
        #expect(functions.map(\.lineCount) == [1, 6, 3])
    }

    @Test("imports are read with their modifiers") func importsAreRead() {
        let file = SourceFile(
            path: "Sources/X/Y.swift",
            text: "import A\npublic import B\n@preconcurrency import C\nimport struct D.E\n// import F\n")
        #expect(file.imports == ["A", "B", "C", "D"])
        #expect(file.target == "X")
    }
}

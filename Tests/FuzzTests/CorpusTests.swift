import Foundation
import Testing

/// Seeds, and inputs that once broke a parser, by target.
@Suite("Parsers get through everything that fuzzing ever found") struct CorpusTests {
    private static let corpus = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("corpus")

    @Test("each target reads or refuses its corpus", arguments: FuzzTarget.allCases)
    func corpus(_ target: FuzzTarget) throws {
        let folder = Self.corpus.appendingPathComponent(target.rawValue)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        #expect(names.count >= 3, "\(target) has too few seeds")
        for name in names {
            let bytes = try Array(Foundation.Data(contentsOf: folder.appendingPathComponent(name)))
            target.run(bytes)
            // Cut short anywhere, and with a bit turned over.
            for step in 1...16 where bytes.count > 1 {
                let place = bytes.count * step / 17
                target.run(Array(bytes[..<place]))
                var changed = bytes
                changed[place] ^= UInt8(1 << (step % 8))
                target.run(changed)
            }
        }
    }
}

import Jobs
import Testing

@Suite("An identifier") struct IdentifierTests {
    static let text = "job_01hf7yat00zzzzzzzzzzzzzzzz"

    @Test("is read from its canonical text alone")
    func parses() {
        #expect(JobID(Self.text)?.rawValue == Self.text)
        #expect(ModelID("mdl_" + Self.text.dropFirst(4)) != nil)
    }

    @Test(
        "is refused in any other spelling",
        arguments: [
            "", "job_", "job_01hf7yat00zzzzzzzzzzzzzzz", "job_01hf7yat00zzzzzzzzzzzzzzzzz",
            "mdl_01hf7yat00zzzzzzzzzzzzzzzz", "job_01HF7YAT00ZZZZZZZZZZZZZZZZ",
            "job_81hf7yat00zzzzzzzzzzzzzzzz",
            "job_01hf7yat00zzzzzzzzzzzzzzzi", "job_../../../etc/passwd/zzzzz",
            "job_01hf7yat00zzzzzzzzzzzzzz\u{e9}",
        ])
    func refuses(_ text: String) { #expect(JobID(text) == nil) }

    @Test("tells when it was made")
    func tellsItsTime() throws {
        let time = Timestamp(milliseconds: 1_700_000_000_123)
        let id: JobID = IdentifierGenerator().next(at: time)
        #expect(id.createdAt == time)
        #expect(JobID(id.rawValue) == id)
    }

    @Test("is greater than every one before, whatever the clock does")
    func grows() {
        let generator = IdentifierGenerator(random: Ones())
        var last: EventID = generator.next(at: Timestamp(milliseconds: 1_000_000))
        // `Ones` starts at the greatest random part, so that the very next one must carry.
        for step in [0, -5_000, 1, 0, 0, -1_000_000, 5] as [Int64] {
            let next: EventID = generator.next(at: Timestamp(milliseconds: 1_000_000 + step))
            #expect(next > last)
            last = next
        }
    }

    @Test("is greater than those of an earlier run that were observed")
    func continues() {
        let stored: EventID = IdentifierGenerator().next(at: Timestamp(milliseconds: 9_000_000))
        let generator = IdentifierGenerator()
        generator.observe(stored)
        let next: EventID = generator.next(at: Timestamp(milliseconds: 1))
        #expect(next > stored)
    }

    /// Draws nothing but ones.
    struct Ones: RandomNumberGenerator, Sendable {
        mutating func next() -> UInt64 { .max }
    }
}

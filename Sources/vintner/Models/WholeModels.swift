import Files
import Formats
import HTTP
import Jobs
import Synchronization

/// Stored models as they read with all their zeros, for those who download them.
///
/// What must be known of a file for that is found out by one thread at a time and shared by all who download
/// it; it is forgotten when others need the room and nobody uses it.
final class WholeModels: Sendable {
    /// What is known of a stored file.
    private struct Known: Sendable {
        let sha256: String
        /// nil for a file that is whole as it is stored.
        let layout: WholeLayout?
        /// nil until somebody wants its bytes.
        var file: WholeFile?

        var byteCount: Int { layout?.memoryByteCount ?? 0 }

        /// Whether nobody is sent its bytes.
        mutating func isIdle() -> Bool { file == nil || isKnownUniquelyReferenced(&file) }
    }

    private struct State {
        /// What was asked for last stands last.
        var known: [Known] = []
        /// Threads that find something out, or wait for their turn.
        var waiting = 0
    }

    /// Memory that all that is known may take.
    static let byteCountMax = 16 << 20
    /// Requests that may wait for what is not known yet, of the server's 16 threads.
    static let waitingMax = 8
    /// Files of which something is known.
    static let filesMax = 64

    private let byteCountMax: Int
    private let state = Mutex(State())
    /// Held by who finds something out.
    private let turn = Mutex(())

    init(byteCountMax: Int = WholeModels.byteCountMax) { self.byteCountMax = byteCountMax }

    /// The bytes that a whole file has.
    ///
    /// - Parameters:
    ///   - sha256: Of the stored file.
    ///   - path: Where that is.
    ///   - isSent: Whether its bytes are wanted, not just their number.
    /// - Returns: nil where the stored file is whole.
    /// - Throws: `Problem` 503 `downloads_busy`; else `FormatError` or `FileError`.
    func source(of sha256: String, at path: String, isSent: Bool) throws -> (any ByteSource)? {
        var known = find(sha256)
        if known == nil || isSent && known?.layout != nil && known?.file == nil {
            try enter()
            defer { state.withLock { $0.waiting -= 1 } }
            known = try turn.withLock { _ in try learn(sha256, at: path, isSent) }
        }
        guard let known, let layout = known.layout else { return nil }
        return Source(layout.byteCount, known.file, try RandomReader(path))
    }

    private func find(_ sha256: String) -> Known? {
        state.withLock { state in
            guard let index = state.known.firstIndex(where: { $0.sha256 == sha256 }) else { return nil }
            state.known.append(state.known.remove(at: index))
            return state.known.last
        }
    }

    private func enter() throws(Problem) {
        let isTaken = state.withLock { state in
            guard state.waiting < Self.waitingMax else { return false }
            state.waiting += 1
            return true
        }
        guard isTaken else { throw Self.busy("\(Self.waitingMax) downloads of pruned models wait already") }
    }

    private func learn(_ sha256: String, at path: String, _ isSent: Bool) throws -> Known {
        let found = find(sha256)
        var known =
            try found ?? Known(sha256: sha256, layout: WholeLayout(SafetensorsReader(path)), file: nil)
        // Room first: it is known before it is taken.
        if found == nil { try keep(known) }
        guard isSent, known.file == nil, let layout = known.layout else { return known }
        known.file = try WholeFile(layout, from: RandomReader(path))
        try keep(known)
        return known
    }

    /// Remembers something, in the place of what nobody uses where there is too much.
    private func keep(_ new: Known) throws(Problem) {
        let isKept = state.withLock { state in
            state.known.removeAll { $0.sha256 == new.sha256 }
            var byteCount = state.known.reduce(new.byteCount) { $0 + $1.byteCount }
            var index = 0
            while index < state.known.count, byteCount > byteCountMax || state.known.count >= Self.filesMax {
                guard state.known[index].isIdle() else {
                    index += 1
                    continue
                }
                byteCount -= state.known.remove(at: index).byteCount
            }
            // One that is alone is served, however long its header.
            guard byteCount <= byteCountMax || state.known.isEmpty else { return false }
            state.known.append(new)
            return true
        }
        guard isKept else { throw Self.busy("Too many pruned models are being downloaded") }
    }

    private static func busy(_ reason: String) -> Problem {
        Problem(
            .serviceUnavailable, "downloads_busy", "\(reason); try again.",
            headers: ["Retry-After": "5"])
    }

    /// A whole file for one client, over a descriptor of its own.
    private struct Source: ByteSource {
        let byteCount: Int
        /// nil for one whose bytes are not wanted.
        private let file: WholeFile?
        private let reader: RandomReader

        init(_ byteCount: Int, _ file: WholeFile?, _ reader: RandomReader) {
            (self.byteCount, self.file, self.reader) = (byteCount, file, reader)
        }

        func read(_ range: Range<Int>) throws -> [UInt8] { try file?.read(range, from: reader) ?? [] }
    }
}

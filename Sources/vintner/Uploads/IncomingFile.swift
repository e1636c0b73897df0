import Files
import Jobs
import Synchronization

/// A file on its way from a client: written and hashed piece by piece, visible only when it is whole.
final class IncomingFile: Sendable {
    private struct State {
        /// Made for the first bytes; gone once the file is finished or given up.
        var writer: AtomicFile.Writer?
        var isFinished = false
        var byteCount = 0
        /// Where room is looked for anew.
        var nextLook = 0
        var isOver = false
    }

    /// How much may come before room is looked for anew.
    private static let lookByteCount = 64 << 20

    private let path: String
    private let byteCountMax: Int
    private let announced: Int
    private let checkRoom: @Sendable (Int) throws(JobError) -> Void
    private let ended: @Sendable () -> Void
    private let state: Mutex<State>

    /// Prepares for a file: nothing of it, nor its folder, is made before the first bytes, by whoever may
    /// wait for a disk.
    ///
    /// - Parameters:
    ///   - path: Where it will lie, absolute.
    ///   - announced: How long it is to be; 0 where nobody said.
    ///   - byteCountMax: How long it may be.
    ///   - checkRoom: Refuses bytes that were not announced where there is no room for them.
    ///   - ended: Called once, when nothing comes any more.
    init(
        at path: String, announced: Int, byteCountMax: Int,
        checkRoom: @escaping @Sendable (Int) throws(JobError) -> Void, ended: @escaping @Sendable () -> Void
    ) {
        (self.path, self.announced, self.byteCountMax) = (path, announced, byteCountMax)
        (self.checkRoom, self.ended) = (checkRoom, ended)
        state = Mutex(State(nextLook: Self.lookByteCount))
    }

    /// The folder's name is durable when this returns, also where another file has just made it.
    private func begin(_ state: inout State) throws(JobError) -> AtomicFile.Writer {
        if let writer = state.writer { return writer }
        let path = path
        let writer = try JobError.translating { () throws(FileError) in
            try Folder.makeDurably(Folder.split(path).folder)
            return try AtomicFile.Writer(path)
        }
        state.writer = writer
        return writer
    }

    /// Takes the next bytes.
    func take(_ bytes: [UInt8]) throws(JobError) {
        try state.withLock { (state) throws(JobError) in
            guard !state.isFinished else { return }
            let writer = try begin(&state)
            state.byteCount += bytes.count
            guard state.byteCount <= byteCountMax else { throw .fileTooLarge(limit: byteCountMax) }
            if state.byteCount >= state.nextLook {
                state.nextLook += Self.lookByteCount
                // What was announced is accounted for; what comes in chunks is not.
                try checkRoom(announced > 0 ? 0 : bytes.count)
            }
            try JobError.translating { () throws(FileError) in try writer.write(bytes) }
        }
    }

    /// Gives the file its name, durably.
    func commit() throws(JobError) -> AtomicFile.Receipt {
        let receipt = try state.withLock { (state) throws(JobError) -> AtomicFile.Receipt? in
            guard !state.isFinished else { return nil }
            let writer = try begin(&state)
            (state.writer, state.isFinished) = (nil, true)
            return try JobError.translating { () throws(FileError) in try writer.commit() }
        }
        guard let receipt else { throw .storeRefused(cause: "a file that came was finished already") }
        return receipt
    }

    /// Nothing comes any more; what was not committed is gone.
    func abandon() {
        let isFirst = state.withLock { state in
            defer { (state.isOver, state.isFinished) = (true, true) }
            // The writer deletes what it wrote unless it was committed.
            state.writer = nil
            return !state.isOver
        }
        if isFirst { ended() }
    }

    deinit { abandon() }
}

extension AtomicFile.Receipt {
    /// Refuses bytes that are not what was announced.
    func check(against sha256: [UInt8]?) throws(JobError) {
        guard let expected = sha256, expected != self.sha256.bytes else { return }
        throw .digestMismatch(expected: SHA256.Digest.hex(expected), found: self.sha256.hex)
    }
}

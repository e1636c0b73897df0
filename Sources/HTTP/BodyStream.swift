import Synchronization

/// A body on its way into a sink.
///
/// The connection's thread gathers a piece, puts the connection to sleep and hands the piece to a thread that
/// may block: a slow disk slows down the client, and nobody else. The connection is resumed exactly once per
/// suspension.
final class BodyStream: Sendable {
    /// Bytes that are gathered for one call of the sink.
    static let pieceByteCount = 1 << 20

    private struct State {
        var pieces: [UInt8] = []
        var byteCount = 0
        /// Bytes that came after something had gone wrong.
        var uselessByteCount = 0
        var isWriting = false
        var failure: (any Error)?
    }

    let sink: any BodySink
    private let byteCountMax: Int
    private let connection: ConnectionHandle
    private let core: ServerCore
    private let state = Mutex(State())

    init(_ sink: any BodySink, byteCountMax: Int, _ connection: ConnectionHandle, _ core: ServerCore) {
        (self.sink, self.byteCountMax) = (sink, byteCountMax)
        (self.connection, self.core) = (connection, core)
    }

    /// Takes a piece of the body on the connection's thread.
    ///
    /// - Parameters:
    ///   - bytes: The piece.
    ///   - excessMax: Useless bytes that are swallowed so that the client can read the answer.
    /// - Returns: How many bytes came so far, and whether to go on reading.
    func receive(_ bytes: [UInt8], excessMax: Int) -> (byteCount: Int, goesOn: Bool) {
        state.withLock { state in
            state.byteCount += bytes.count
            if state.byteCount > byteCountMax, state.failure == nil {
                state.failure = ServerCore.tooLarge(byteCountMax)
            }
            guard state.failure == nil else {
                state.pieces = []
                state.uselessByteCount += bytes.count
                return (state.byteCount, state.uselessByteCount <= excessMax)
            }
            state.pieces += bytes
            // A second chunk may come before the library notices that the connection sleeps.
            guard state.pieces.count >= Self.pieceByteCount, !state.isWriting else {
                return (state.byteCount, true)
            }
            let piece = state.pieces
            guard !core.isClosed, core.bodies.submit({ [self] in write(piece) }) else {
                return (state.byteCount, false)
            }
            state.pieces = []
            state.isWriting = true
            connection.suspend()
            return (state.byteCount, true)
        }
    }

    private func write(_ piece: [UInt8]) {
        var failure: (any Error)?
        do { try sink.take(piece) } catch { failure = error }
        state.withLock { state in
            state.failure = state.failure ?? failure
            state.isWriting = false
            connection.resume()
        }
    }

    /// Hands over what is left once the whole body came; may block.
    ///
    /// - Throws: What went wrong before or goes wrong now.
    func complete() throws {
        let (rest, failure) = state.withLock { state in
            defer { state.pieces = [] }
            return (state.pieces, state.failure)
        }
        if let failure { throw failure }
        if !rest.isEmpty { try sink.take(rest) }
    }

    /// The exchange is over, one way or another.
    func abandon() { sink.abandon() }
}

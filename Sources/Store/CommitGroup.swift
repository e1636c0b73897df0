import Dispatch
import GRDB
import Synchronization

/// Lets threads that write at the same time share one transaction, and so one sync of the disk.
///
/// Whoever comes while nobody writes does so at once; those who come meanwhile wait, and the first of them
/// writes for all. Each has a savepoint of its own, so that one's failure leaves the others alone. None
/// is told of success before the transaction is durable.
final class CommitGroup: Sendable {
    /// What one thread wants written.
    ///
    /// `@unchecked Sendable`: its thread waits while another runs it, and reads `isLeader` and `failure`
    /// after the signal that follows their last change.
    final class Ticket: @unchecked Sendable {
        /// Nil as soon as it will not be run again: it must not outlive the call that brought it.
        fileprivate var body: ((Database) throws -> Void)?
        fileprivate let turn = DispatchSemaphore(value: 0)
        /// Whether it has to write for all who wait.
        fileprivate var isLeader = false
        /// Why nothing of it is stored.
        fileprivate var failure: (any Error)?

        fileprivate init(_ body: @escaping (Database) throws -> Void) { self.body = body }
    }

    private struct State {
        var isWriting = false
        var waiting: [Ticket] = []
    }

    /// More do not make a sync much cheaper for each, and the first one would wait for the last.
    private static let countMax = 64
    private let state = Mutex(State())

    /// How many wait for somebody else's transaction to end.
    var waitingCount: Int { state.withLock { $0.waiting.count } }

    /// Runs `body` in a transaction, perhaps on another thread and with others.
    ///
    /// - Parameters:
    ///   - body: What to write.
    ///   - transact: Runs what it is given in one transaction, and returns or throws when that is over.
    /// - Returns: What `body` returned.
    /// - Throws: What `body` threw, or what ended the transaction.
    func write<Value>(
        _ body: (Database) throws -> Value, in transact: ((Database) throws -> Void) throws -> Void
    ) throws -> Value {
        var value: Value?
        try withoutActuallyEscaping(body) { body in
            let ticket = Ticket { value = try body($0) }
            if isFirst(ticket) {
                lead([ticket], transact)
            } else {
                ticket.turn.wait()
                if ticket.isLeader { lead(takeWaiting(behind: ticket), transact) }
            }
            if let failure = ticket.failure { throw failure }
        }
        guard let value else { throw DatabaseError(resultCode: .SQLITE_INTERNAL) }
        return value
    }

    private func isFirst(_ ticket: Ticket) -> Bool {
        state.withLock { state in
            if state.isWriting {
                state.waiting.append(ticket)
                return false
            }
            state.isWriting = true
            return true
        }
    }

    private func takeWaiting(behind leader: Ticket) -> [Ticket] {
        state.withLock { state in
            let others = state.waiting.prefix(Self.countMax - 1)
            state.waiting.removeFirst(others.count)
            return [leader] + others
        }
    }

    /// Writes for all of `tickets`, the first of which is the caller's, and names who writes next.
    private func lead(_ tickets: [Ticket], _ transact: ((Database) throws -> Void) throws -> Void) {
        do {
            try transact { db in try Self.run(tickets, db) }
        } catch {
            for ticket in tickets where ticket.failure == nil { ticket.failure = error }
        }
        for ticket in tickets { ticket.body = nil }
        let next = state.withLock { state -> Ticket? in
            state.isWriting = !state.waiting.isEmpty
            return state.waiting.isEmpty ? nil : state.waiting.removeFirst()
        }
        if let next {
            next.isLeader = true
            next.turn.signal()
        }
        for ticket in tickets.dropFirst() { ticket.turn.signal() }
    }

    /// Runs each ticket in a savepoint; alone, in the transaction itself.
    ///
    /// - Throws: What ended the whole transaction.
    private static func run(_ tickets: [Ticket], _ db: Database) throws {
        guard tickets.count > 1 else { return try tickets.forEach { try $0.body?(db) } }
        for ticket in tickets {
            do {
                try db.inSavepoint {
                    try ticket.body?(db)
                    return .commit
                }
            } catch {
                // A full disk, for one, takes the transaction with it, and what the others wrote.
                guard db.isInsideTransaction else { throw error }
                ticket.failure = error
            }
        }
    }
}

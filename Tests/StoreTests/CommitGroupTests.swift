import GRDB
import Synchronization
import Testing
import Threads

@testable import Store

@Suite("Writing together", .timeLimit(.minutes(15))) struct CommitGroupTests {
    private struct Refusal: Error, Equatable { let number: Int }

    /// A table of numbers in memory, and a group that counts its transactions.
    private final class Table: Sendable {
        let queue: DatabaseQueue
        let group = CommitGroup()
        let transactions = Mutex(0)
        let outcomes = Monitor<[Int: Result<Int, any Error>]>([:])

        init() throws {
            queue = try DatabaseQueue()
            try queue.write { try $0.execute(sql: "CREATE TABLE number(value INTEGER UNIQUE)") }
        }

        func write(_ number: Int, _ body: @escaping @Sendable (Database) throws -> Void = { _ in }) throws
            -> Int
        {
            try group.write(
                { db in
                    try db.execute(sql: "INSERT INTO number VALUES (?)", arguments: [number])
                    try body(db)
                    return number
                },
                in: { body in
                    transactions.withLock { $0 += 1 }
                    try queue.write(body)
                })
        }

        func start(_ number: Int, _ body: @escaping @Sendable (Database) throws -> Void = { _ in }) throws {
            try BackgroundThread.start { [self] in
                let outcome = Result { try write(number, body) }
                outcomes.update { $0[number] = outcome }
            }
        }

        var stored: Set<Int> {
            get throws { try queue.read { try Int.fetchSet($0, sql: "SELECT value FROM number") } }
        }

        /// Lets `count` threads come while another one writes.
        func gather(_ count: Int, _ body: @escaping @Sendable (Int, Database) throws -> Void) throws {
            let isOpen = Monitor(false)
            try start(0) { _ in _ = isOpen.wait { $0 ? () : nil } }
            while transactions.withLock({ $0 }) == 0 {}
            for number in 1...count { try start(number) { try body(number, $0) } }
            while group.waitingCount < count {}
            isOpen.update { $0 = true }
            #expect(outcomes.wait(seconds: 30) { $0.count == count + 1 })
        }
    }

    @Test("those who come while one writes share the next transaction") func sharesOne() throws {
        let table = try Table()
        try table.gather(20) { _, _ in }
        #expect(try table.stored == Set(0...20))
        #expect(table.transactions.withLock { $0 } == 2)
        for (number, outcome) in table.outcomes.read({ $0 }) { #expect(try outcome.get() == number) }
    }

    @Test("one's failure leaves the others alone") func failsAlone() throws {
        let table = try Table()
        try table.gather(9) { number, _ in if number.isMultiple(of: 3) { throw Refusal(number: number) } }
        #expect(try table.stored == [0, 1, 2, 4, 5, 7, 8])
        for (number, outcome) in table.outcomes.read({ $0 }) where number > 0 && number.isMultiple(of: 3) {
            #expect(throws: Refusal(number: number)) { try outcome.get() }
        }
    }

    @Test("what ends the transaction fails all who shared it") func failsTogether() throws {
        let table = try Table()
        try table.gather(6) { number, db in
            guard number == 4 else { return }
            // As SQLite does by itself when the disk is full.
            try db.execute(sql: "ROLLBACK")
            throw Refusal(number: number)
        }
        #expect(try table.stored == [0])
        for (number, outcome) in table.outcomes.read({ $0 }) where number > 0 {
            #expect(throws: (any Error).self) { try outcome.get() }
        }
    }

    @Test("alone, one writes at once, and its failure leaves nothing") func alone() throws {
        let table = try Table()
        #expect(throws: Refusal(number: 1)) { try table.write(1) { _ in throw Refusal(number: 1) } }
        #expect(try table.write(2) == 2)
        #expect(try table.stored == [2])
    }

    @Test("many threads lose nothing") func losesNothing() throws {
        let table = try Table()
        for number in 0..<200 { try table.start(number) }
        #expect(table.outcomes.wait(seconds: 30) { $0.count == 200 })
        #expect(try table.stored == Set(0..<200))
        #expect(table.group.waitingCount == 0)
    }
}

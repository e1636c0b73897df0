import Dispatch
import Jobs
import Synchronization
import Testing

@Suite("The change hub") struct ChangeHubTests {
    private let ids = IdentifierGenerator()
    private func job() -> JobID { ids.next(at: Timestamp(milliseconds: 1)) }

    @Test("wakes those who wait for the job or for any job, once")
    func wakesOnce() {
        let hub = ChangeHub()
        let log = Mutex<[String]>([])
        let (one, other) = (job(), job())
        hub.subscribe(to: .job(one)) { log.withLock { $0.append("one") } }
        hub.subscribe(to: .job(other)) { log.withLock { $0.append("other") } }
        hub.subscribe(to: .anyJob) { log.withLock { $0.append("any") } }
        hub.notify(one)
        hub.notify(one)
        #expect(log.withLock { $0.sorted() } == ["any", "one"])
        #expect(hub.waiterCount == 1)
        hub.notifyAll()
        #expect(log.withLock { $0.sorted() } == ["any", "one", "other"])
        #expect(hub.waiterCount == 0)
    }

    @Test("either calls a wait off or wakes it, never both, however they race")
    func cancellationIsExclusive() {
        let hub = ChangeHub()
        let id = job()
        let woken = Atomic(0)
        let calledOff = Atomic(0)
        for _ in 0..<500 {
            let subscription = hub.subscribe(to: .job(id)) { woken.add(1, ordering: .relaxed) }
            DispatchQueue.concurrentPerform(iterations: 2) { index in
                if index == 0 {
                    hub.notify(id)
                } else if subscription.cancel() {
                    calledOff.add(1, ordering: .relaxed)
                }
            }
        }
        #expect(woken.load(ordering: .relaxed) + calledOff.load(ordering: .relaxed) == 500)
        #expect(hub.waiterCount == 0)
    }

    @Test("lets a waiter wait again from within its own wake")
    func allowsResubscription() {
        let (hub, id) = (ChangeHub(), job())
        let count = Mutex(0)
        hub.subscribe(to: .job(id)) {
            count.withLock { $0 += 1 }
            hub.subscribe(to: .job(id)) { count.withLock { $0 += 10 } }
        }
        hub.notify(id)
        #expect(count.withLock { $0 } == 1)
        hub.notify(id)
        #expect(count.withLock { $0 } == 11)
    }
}

@Suite("The control of a running job") struct JobControlTests {
    @Test("keeps the most urgent signal")
    func keepsTheMostUrgent() {
        let control = JobControl(threads: 2)
        #expect(control.signal == .none)
        control.raise(.pause)
        control.raise(.drain)
        #expect(control.signal == .pause)
        control.raise(.cancel)
        control.raise(.pause)
        #expect(control.signal == .cancel)
    }
}

@Suite("Errors of jobs") struct JobErrorTests {
    @Test("say what was refused, and keep the cause for the log")
    func texts() {
        let id: JobID = IdentifierGenerator().next(at: Timestamp(milliseconds: 1))
        let conflict = JobError.stateConflict(id, state: .succeeded, action: "be cancelled")
        #expect(conflict.description == "\(id) is succeeded: it cannot be cancelled.")
        #expect(conflict.code == "job_state_conflict")
        let broken = JobError.storeBroken(cause: "SQLite error 11 in a table")
        #expect(!broken.description.contains("SQLite"))
        #expect(broken.cause == "SQLite error 11 in a table")
    }

    @Test("cut the text of a failure that would fill the store")
    func cutsLongTexts() {
        let failure = JobFailure(code: "x", message: String(repeating: "\u{1F347}", count: 5000))
        #expect(failure.message.utf8.count <= 4100)
    }
}

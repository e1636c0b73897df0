import Dispatch
import HTTP
import JSON
import Jobs

/// Something that a test opens once.
final class Gate: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    func open() { semaphore.signal() }

    /// Blocks until it is open; it stays so.
    func waitUntilOpen() {
        _ = semaphore.wait(timeout: .now() + 20)
        semaphore.signal()
    }

    /// Gives way to other threads.
    func pause() { _ = semaphore.wait(timeout: .now() + 0.002) == .success ? semaphore.signal() : 0 }
}

extension Backstage {
    struct Stuck: Error { let last: JSONValue }

    /// Blocks until the job's JSON satisfies `condition`; gives up after twenty seconds.
    @discardableResult
    func wait(_ id: String, _ condition: (JSONValue) -> Bool) throws -> JSONValue {
        let deadline = DispatchTime.now() + 20
        while true {
            let changed = DispatchSemaphore(value: 0)
            let subscription = hub.subscribe(to: .anyJob) { changed.signal() }
            defer { subscription.cancel() }
            let job = try answer(.get, "/v1/jobs/\(id)").json
            if condition(job) { return job }
            guard changed.wait(timeout: deadline) == .success else { throw Stuck(last: job) }
        }
    }
}

import JSON
import Jobs

/// Follows a job on a server to its end.
struct Follower {
    let client: APIClient
    let id: String
    /// Seconds to wait at most.
    let timeout: Int?

    /// One long poll takes at most this long, so that a lost server is noticed.
    private static let pollSeconds = 20

    /// Shows progress until the job is over.
    ///
    /// - Throws: The exit code by the verdict; `timeout` when the job takes too long.
    func follow() throws {
        let clock = SystemTime()
        let start = clock.monotonicNanoseconds()
        var line = ProgressLine()
        var version = -1
        defer { line.close() }
        while true {
            let spent = Int((clock.monotonicNanoseconds() - start) / 1_000_000_000)
            let left = timeout.map { max($0 - spent, 0) } ?? Self.pollSeconds
            // The version changes with every report; without `since` the first answer comes at once.
            let query = version < 0 ? "" : "?wait=\(min(left, Self.pollSeconds))&since=\(version)"
            let job = try client.ask("GET", "/v1/jobs/\(id)\(query)", seconds: Self.pollSeconds + 30)
            line.show(job)
            version = job["version"]?.intValue ?? version
            if job["is_terminal"]?.boolValue == true { return try end(job, &line) }
            if let timeout, spent >= timeout {
                line.close()
                Terminal.complain("vintner: \(id) was not over after \(timeout) s")
                throw Ending.timeout.error
            }
        }
    }

    private func end(_ job: JSONValue, _ line: inout ProgressLine) throws {
        line.close()
        Epilogue.say(job)
        let verdict = try client.send("GET", "/v1/jobs/\(id)/verdict").json()
        let code = verdict["code"]?.stringValue
        if code == "gate_failed" {
            let text = verdict["detail"]?.stringValue ?? verdict["message"]?.stringValue ?? "A gate failed."
            Terminal.complain("vintner: \(text)")
        }
        let ending = Epilogue.ending(job["state"]?.stringValue ?? "", verdict: code)
        guard ending == .ok else { throw ending.error }
    }
}

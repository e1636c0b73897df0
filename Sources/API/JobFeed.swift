import HTTP
import JSON
import Jobs
import Synchronization

/// The live stream of one job: `state` and `log` from its events, `progress`, and `metric` points.
final class JobFeed: Sendable {
    private struct State {
        var cursor: EventCursor
        var progress: JobProgress?
    }

    /// How many events one pull takes.
    private static let eventsMax = 100
    /// To how many points of each series a new client's past is thinned.
    private static let pastPointsMax = 500
    /// How many points of each series later pulls take: more than a worker reports in a second.
    private static let pointsMax = 10_000
    private let id: JobID
    private let jobs: JobService
    private let state: Mutex<State>

    init(_ id: JobID, _ jobs: JobService, from cursor: EventCursor) {
        (self.id, self.jobs) = (id, jobs)
        state = Mutex(State(cursor: cursor))
    }

    /// Whether the job is over and the client has all of it.
    func isOver() throws -> Bool {
        let cursor = state.withLock { $0.cursor }
        return try Problem.translating { () throws(JobError) in
            guard try jobs.job(id).state.isTerminal else { return false }
            return try jobs.events(of: id, after: cursor.event, limit: 1).isEmpty
        }
    }

    /// What is new since the last pull.
    func pull() throws -> EventBatch {
        var state = state.withLock { $0 }
        // The job is read first: whatever ended it is among the events read afterwards.
        let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
        let records = try Problem.translating { () throws(JobError) in
            try jobs.events(of: id, after: state.cursor.event, limit: Self.eventsMax)
        }
        // The points come first: a client cut off between them and the last event is told that it has
        // not seen the end yet, and gets the rest.
        var events = try points(of: job, &state)
        for record in records {
            state.cursor.event = record.id
            events.append(
                ServerEvent(
                    id: state.cursor.text, name: record.type == "state" ? "state" : "log", data: record.json))
        }
        if state.progress != job.progress {
            state.progress = job.progress
            var data: JSONObject = JobResource.json(job.progress).objectValue ?? [:]
            data["state"] = .string(job.state.rawValue)
            data["version"] = JSONValue(job.version)
            events.append(ServerEvent(id: nil, name: "progress", data: .object(data)))
        }
        let result = state
        self.state.withLock { $0 = result }
        let hasMore = records.count == Self.eventsMax
        return EventBatch(events, hasMore: hasMore, isLast: job.state.isTerminal && !hasMore)
    }

    /// Of each curve the points after the cursor's step for it; moves the cursor.
    private func points(of job: Job, _ state: inout State) throws -> [ServerEvent] {
        if let before = state.progress, job.progress.step < before.step {
            // The job went back to a checkpoint and records these steps again.
            state.cursor.rewind(toStep: job.progress.step)
        }
        let steps = state.cursor.steps
        let query = CurveQuery(
            sinceSteps: steps, pointsMax: steps.isEmpty ? Self.pastPointsMax : Self.pointsMax)
        let curves = try Problem.translating { () throws(JobError) in try jobs.metrics(of: id, query) }
        return curves.compactMap { curve in
            guard let last = curve.steps.last else { return nil }
            state.cursor.steps[curve.name] = last
            let data: JSONValue = [
                "series": .string(curve.name), "steps": .array(curve.steps.map { JSONValue($0) }),
                "values": .array(curve.values.map(JSONValue.number)),
                "times": .array(curve.times.map { .number($0.seconds) }),
            ]
            return ServerEvent(id: state.cursor.text, name: "metric", data: data)
        }
    }
}

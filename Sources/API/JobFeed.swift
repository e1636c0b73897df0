import HTTP
import JSON
import Jobs
import Synchronization

/// The live stream of one job: `state` and `log` from its events, `progress`, and `metric` points.
final class JobFeed: Sendable {
    /// How far a client has come.
    struct Place: Hashable, Sendable {
        let id: JobID
        var cursor: EventCursor
        var progress: JobProgress?
        /// Whether what happened before the connection was looked at.
        var knowsPast = false
    }

    /// What comes after a place, for everybody who stands there.
    struct Step: Sendable {
        let batch: EventBatch
        let next: Place
    }

    /// The steps that were made between two changes.
    typealias Steps = ReadCache<Place, Step>

    /// How many events one pull takes.
    private static let eventsMax = 100
    /// To how many points of each series a new client's past is thinned.
    private static let pastPointsMax = 500
    /// How many points of each series later pulls take, of which none is left out.
    private static let pointsMax = 2000
    /// Longer steps are each client's own; 64 others take 4 MiB at most.
    private static let sharedByteCountMax = 65_536
    private let id: JobID
    private let jobs: JobService
    private let steps: Steps
    private let place: Mutex<Place>

    init(_ id: JobID, _ jobs: JobService, from cursor: EventCursor, sharing steps: Steps) {
        (self.id, self.jobs, self.steps) = (id, jobs, steps)
        place = Mutex(Place(id: id, cursor: cursor))
    }

    /// Whether the job is over and the client has all of it, but for curves that no cursor can name.
    func isOver() throws -> Bool {
        let cursor = place.withLock { $0.cursor }
        return try Problem.translating { () throws(JobError) in
            guard try jobs.job(id).state.isTerminal,
                try jobs.events(of: id, after: cursor.event, limit: 1).isEmpty
            else { return false }
            let query = CurveQuery(sinceSteps: cursor.steps, pointsMax: 2)
            return try jobs.metrics(of: id, query).allSatisfy {
                $0.steps.isEmpty || !cursor.carries($0.name)
            }
        }
    }

    /// What is new since the last pull.
    func pull() throws -> EventBatch {
        let place = place.withLock { $0 }
        let generation = jobs.generation
        let step: Step
        if let known = steps.value(of: place, at: generation) {
            step = known
        } else {
            step = try self.step(from: place)
            if step.batch.byteCount <= Self.sharedByteCountMax {
                steps.keep(step, of: place, at: generation)
            }
        }
        self.place.withLock { $0 = step.next }
        return step.batch
    }

    private func step(from place: Place) throws -> Step {
        var place = place
        // The job is read first: whatever ended it is among the events read afterwards.
        let job = try Problem.translating { () throws(JobError) in try jobs.job(id) }
        if !place.knowsPast, !place.cursor.steps.isEmpty {
            place.cursor.rewind(toStep: try restart(since: place.cursor.event))
        }
        place.knowsPast = true
        let records = try Problem.translating { () throws(JobError) in
            try jobs.events(of: id, after: place.cursor.event, limit: Self.eventsMax)
        }
        // The points come first: a client cut off between them and the last event is told that it has
        // not seen the end yet, and gets the rest.
        var (events, hasMorePoints) = try points(of: job, &place)
        if hasMorePoints { return Step(batch: EventBatch(events, hasMore: true), next: place) }
        for record in records {
            place.cursor.event = record.id
            events.append(
                ServerEvent(
                    id: place.cursor.text, name: record.type == "state" ? "state" : "log", data: record.json))
        }
        if place.progress != job.progress {
            place.progress = job.progress
            var data: JSONObject = JobResource.json(job.progress).objectValue ?? [:]
            data["state"] = .string(job.state.rawValue)
            data["version"] = JSONValue(job.version)
            events.append(ServerEvent(id: nil, name: "progress", data: .object(data)))
        }
        let hasMore = records.count == Self.eventsMax
        return Step(
            batch: EventBatch(events, hasMore: hasMore, isLast: job.state.isTerminal && !hasMore), next: place
        )
    }

    /// The earliest step from which the job recorded its steps again since an event; `.max` where it did not.
    ///
    /// An attempt tells the step at which it went on; one that does not began anew, unless it has not come to
    /// its first step yet.
    private func restart(since event: EventID?) throws -> Int {
        var (earliest, event) = (Int.max, event)
        var unexplained: EventRecord?
        while true {
            let records = try Problem.translating { [event] () throws(JobError) in
                try jobs.events(of: id, after: event, limit: Self.eventsMax)
            }
            for record in records {
                if record.type == "resumed", let step = record.data["step"]?.intValue {
                    (earliest, unexplained) = (min(earliest, step), nil)
                } else if record.type == "state", record.data["state"] == "running" {
                    if unexplained != nil { earliest = 0 }
                    unexplained = record
                }
            }
            event = records.last?.id ?? event
            guard records.count == Self.eventsMax else { break }
        }
        guard let unexplained, earliest > 0 else { return earliest }
        var query = CurveQuery(pointsMax: 2)
        query.isThinned = false
        let curves = try Problem.translating { () throws(JobError) in try jobs.metrics(of: id, query) }
        let hasBegunAnew = curves.contains { ($0.times.first.map { $0 >= unexplained.at }) ?? false }
        return hasBegunAnew ? 0 : earliest
    }

    /// Of each curve the points after the cursor's step for it; moves the cursor.
    ///
    /// Whoever has nothing yet gets a past that can be drawn; whoever comes back gets every point.
    private func points(
        of job: Job, _ place: inout Place
    ) throws -> (events: [ServerEvent], hasMore: Bool) {
        if let before = place.progress, job.progress.step < before.step {
            // The job went back to a checkpoint and records these steps again.
            place.cursor.rewind(toStep: job.progress.step)
        }
        let isNew = place.cursor == EventCursor()
        var query = CurveQuery(
            sinceSteps: place.cursor.steps, pointsMax: isNew ? Self.pastPointsMax : Self.pointsMax)
        query.isThinned = isNew
        let curves = try Problem.translating { () throws(JobError) in try jobs.metrics(of: id, query) }
        let hasMore = !isNew && curves.contains { $0.steps.count == Self.pointsMax }
        let events = curves.compactMap { curve -> ServerEvent? in
            guard let last = curve.steps.last else { return nil }
            place.cursor.steps[curve.name] = last
            let data: JSONValue = [
                "series": .string(curve.name), "steps": .array(curve.steps.map { JSONValue($0) }),
                "values": .array(curve.values.map(JSONValue.number)),
                "times": .array(curve.times.map { .number($0.seconds) }),
            ]
            return ServerEvent(id: place.cursor.text, name: "metric", data: data)
        }
        return (events, hasMore)
    }
}

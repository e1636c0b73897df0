import HTTP
import JSON
import Jobs

/// Several jobs side by side: what was asked differently, and what came of it.
struct CompareRoutes: Sendable {
    let jobs: JobService

    private static let jobsMax = 20
    /// Points of all curves together: curves are thinned further where there are many.
    private static let allPointsMax = 200_000

    private static let ids = QueryField<[JobID]>(
        "jobs", "Which jobs, 2 to \(jobsMax) different ones.", isRequired: true, form: .commas,
        schema: [
            "type": "array", "items": Shape.identifier("job").json, "minItems": 2,
            "maxItems": JSONValue(jobsMax), "uniqueItems": true,
        ]
    ) { reader in
        let texts = reader.list("jobs", countMax: jobsMax)
        let ids = (texts ?? []).compactMap { JobID($0) }
        if texts?.count != ids.count || Set(ids).count != ids.count || ids.count < 2 {
            reader.add(
                "jobs", "invalid_value",
                "expected 2 to \(jobsMax) different job ids, separated by commas")
        }
        return ids
    }
    private static let series = QueryField.list("series", "Only these curves; all of them without it.")
    private static let pointsMax = QueryField.integer(
        "max_points", default: 200, in: 2...2000,
        "The most points of each curve; fewer where there are many curves.")

    var operations: [Operation] {
        [
            Operation(
                "compareJobs", "Several jobs side by side: where their specs differ, and their curves.",
                .jobs,
                Route(
                    .get, "/v1/compare", access: .requires(.read),
                    query: [Self.ids, Self.series, Self.pointsMax], handler: compare),
                answers: [.json("The comparison.", .comparison)], refusals: [.notFound])
        ]
    }

    /// The jobs, where their specs differ, and their curves by name and job.
    ///
    /// 404 `job_not_found` for a job that does not exist.
    private func compare(_ request: Request) throws -> Response {
        let (ids, series) = (request.query[Self.ids], request.query[Self.series])
        let pointsMax = request.query[Self.pointsMax]
        return try Problem.translating { () throws(JobError) in
            var compared: [(Job, [Curve])] = []
            let all = try ids.map { id throws(JobError) in try jobs.job(id) }
            let count = all.reduce(0) { sum, job in
                sum + job.summary.count { series.isEmpty || series.contains($0.name) }
            }
            let share = max(2, min(pointsMax, Self.allPointsMax / max(count, 1)))
            for job in all {
                let query = CurveQuery(series: series, sinceStep: nil, pointsMax: share)
                compared.append((job, try jobs.metrics(of: job.id, query)))
            }
            return Response(contentType: "application/json", bytes: Self.json(compared))
        }
    }

    private static func json(_ compared: [(job: Job, curves: [Curve])]) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("object", "comparison")
        writer.key("jobs")
        writer.beginArray()
        for (job, _) in compared { writer.value(outline(job)) }
        writer.endArray()
        let specs = compared.map { ($0.job.id.rawValue, $0.job.spec) }
        writer.member("differences", SpecDifferences(specs).json)
        writer.key("series")
        writer.beginObject()
        var names: [String] = []
        for (_, curves) in compared {
            for curve in curves where !names.contains(curve.name) { names.append(curve.name) }
        }
        for name in names {
            writer.key(name)
            writer.beginObject()
            for (job, curves) in compared {
                guard let curve = curves.first(where: { $0.name == name }) else { continue }
                writer.key(job.id.rawValue)
                CurveRoutes.write(curve, to: &writer)
            }
            writer.endObject()
        }
        writer.endObject()
        writer.endObject()
        return writer.finish()
    }

    /// What one compares jobs by: all of the job but its spec, which `differences` tells, and its history.
    private static func outline(_ job: Job) -> JSONValue {
        let left = Resource.leftOutOfComparisons
        let members = JobResource(job: job).json.objectValue?.members ?? []
        return .object(JSONObject(members.filter { !left.contains($0.key) }.map { ($0.key, $0.value) }))
    }
}

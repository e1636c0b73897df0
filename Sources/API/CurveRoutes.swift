import HTTP
import JSON
import Jobs

/// Loss curves and resource curves.
struct CurveRoutes: Sendable {
    let jobs: JobService

    private enum Format: String, CaseIterable { case json, csv }

    private static let series = QueryField.list("series", "Only these curves; all of them without it.")
    private static let pointsMax = QueryField.integer(
        "max_points", default: 500, in: 2...10_000,
        "The most points of each curve; the first, the last and, from 4 on, the extreme ones stay.")
    private static let sinceStep = QueryField.optionalInteger(
        "since_step", in: 0...Int(Int32.max), "Only points of later steps.")
    private static let format = QueryField.choice(
        "format", of: Format.self, default: .json, "How the curves are written.")

    var operations: [Operation] {
        [
            operation("getJobMetrics", "The loss curves of a job and their like.", "metrics") {
                id, query throws(JobError) in try jobs.metrics(of: id, query)
            },
            operation("getJobResources", "What a job used over time, as curves.", "resources") {
                id, query throws(JobError) in try jobs.resources(of: id, query)
            },
        ]
    }

    private func operation(
        _ id: String, _ summary: String, _ place: String,
        _ read: @escaping @Sendable (JobID, CurveQuery) throws(JobError) -> [Curve]
    ) -> Operation {
        Operation(
            id, summary, .jobs,
            Route(
                .get, "/v1/jobs/{id}/\(place)", access: .requires(.read),
                query: [Self.series, Self.pointsMax, Self.sinceStep, Self.format]
            ) { request in try curves(request, read) },
            path: [.job],
            answers: [
                Answer(
                    .ok, "The curves.",
                    content: [("application/json", .resource(.curves)), ("text/csv", .text)])
            ])
    }

    /// The curves of a job, thinned to `max_points` each; first, last and extreme points stay.
    private func curves(
        _ request: Request, _ read: (JobID, CurveQuery) throws(JobError) -> [Curve]
    ) throws -> Response {
        let query = CurveQuery(
            series: request.query[Self.series], sinceStep: request.query[Self.sinceStep],
            pointsMax: request.query[Self.pointsMax])
        let id = try request.jobID()
        let curves = try Problem.translating { () throws(JobError) in try read(id, query) }
        switch request.query[Self.format] {
        case .json: return Response(contentType: "application/json", bytes: Self.json(curves))
        case .csv: return .text(Self.csv(curves), contentType: "text/csv")
        }
    }

    /// Written piece by piece: as a tree of values a long curve would take ten times its text.
    private static func json(_ curves: [Curve]) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("series")
        writer.beginObject()
        for curve in curves {
            writer.key(curve.name)
            write(curve, to: &writer)
        }
        writer.endObject()
        writer.endObject()
        return writer.finish()
    }

    /// One curve: `{steps, values, times}`.
    static func write(_ curve: Curve, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.key("steps")
        writer.beginArray()
        for step in curve.steps { writer.integer(Int64(step)) }
        writer.endArray()
        writer.key("values")
        writer.beginArray()
        for value in curve.values { writer.number(value) }
        writer.endArray()
        writer.key("times")
        writer.beginArray()
        for time in curve.times { writer.number(time.seconds) }
        writer.endArray()
        writer.endObject()
    }

    private static func csv(_ curves: [Curve]) -> String {
        var text = "series,step,value,at\n"
        for curve in curves {
            for index in curve.steps.indices {
                text += "\(field(curve.name)),\(curve.steps[index]),\(curve.values[index]),"
                text += "\(curve.times[index].seconds)\n"
            }
        }
        return text
    }

    /// Quoted where needed; a leading sign would be a formula to a spreadsheet.
    private static func field(_ text: String) -> String {
        let isPlain = text.unicodeScalars.allSatisfy {
            $0.properties.isAlphabetic || "0123456789_./-".unicodeScalars.contains($0)
        }
        guard !isPlain || text.hasPrefix("-") else { return text }
        let quoted = text.map { $0 == "\"" ? "\"\"" : String($0) }.joined()
        return text.hasPrefix("=") || text.hasPrefix("+") || text.hasPrefix("-") || text.hasPrefix("@")
            ? "\"'\(quoted)\"" : "\"\(quoted)\""
    }
}

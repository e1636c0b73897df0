import HTTP
import JSON
import Jobs

/// Loss curves and resource curves.
struct CurveRoutes: Sendable {
    let jobs: JobService

    private enum Format: String, CaseIterable { case json, csv }

    var routes: [Route] {
        [
            Route(.get, "/v1/jobs/{id}/metrics", access: .requires(.read)) { request in
                try curves(request) { id, query throws(JobError) in try jobs.metrics(of: id, query) }
            },
            Route(.get, "/v1/jobs/{id}/resources", access: .requires(.read)) { request in
                try curves(request) { id, query throws(JobError) in try jobs.resources(of: id, query) }
            },
        ]
    }

    /// The curves of a job, thinned to `max_points` each; first, last and extreme points stay.
    private func curves(
        _ request: Request, _ read: (JobID, CurveQuery) throws(JobError) -> [Curve]
    ) throws -> Response {
        var reader = QueryReader(request.query)
        let series = reader.list("series") ?? []
        let pointsMax = reader.integer("max_points", in: 2...10_000) ?? 500
        let sinceStep = reader.integer("since_step", in: 0...Int(Int32.max))
        let format = reader.choice("format", of: Format.self) ?? .json
        try reader.finish()
        let id = try request.jobID()
        let curves = try Problem.translating { () throws(JobError) in
            try read(id, CurveQuery(series: series, sinceStep: sinceStep, pointsMax: pointsMax))
        }
        switch format {
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

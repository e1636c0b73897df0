public import HTTP
import JSON

/// Where the process keeps the least that it logs.
public protocol LogLevelControl: Sendable {
    /// What is logged from now on: this, and all that is more urgent.
    var level: LogLevel { get }
    /// Changes it, until the process ends.
    func set(_ level: LogLevel)
}

/// The least that is logged, while the service runs.
struct LogLevelRoutes: Sendable {
    let logging: any LogLevelControl

    private static let level = Field.choice("level", of: LogLevel.self, "The least that is logged.")
    private static let schema = ObjectSchema("log_level", "The least that is logged.", fields: [level])

    var operations: [Operation] {
        [
            Operation(
                "getLogLevel", "The least that is logged.", .system,
                Route(.get, "/v1/system/log-level", access: .requires(.admin), query: [], handler: show),
                answers: [.json("The level.", .logLevel)]),
            Operation(
                "setLogLevel", "Changes the least that is logged, until the process ends.", .system,
                Route(.put, "/v1/system/log-level", access: .requires(.admin), query: [], handler: set),
                body: RequestBody(Self.schema, isRequired: true),
                answers: [.json("The level as it is now.", .logLevel)]),
        ]
    }

    private var json: JSONValue { ["object": "log_level", "level": .string(logging.level.rawValue)] }

    /// The least that is logged.
    private func show(_ request: Request) throws -> Response { .json(json) }

    /// Changes it.
    private func set(_ request: Request) throws -> Response {
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(), as: Self.schema, at: "", log: log)
        let level = reader.read(Self.level)
        reader.finish()
        try log.throwIfAny()
        logging.set(level)
        return .json(json)
    }
}

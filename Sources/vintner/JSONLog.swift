import HTTP
import JSON
import Jobs
import Logging

/// Writes each message as one JSON object on a line of standard error.
struct JSONLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    /// Shared by all copies of a logger, so that a change reaches each.
    let level: LogSwitch

    var logLevel: Logger.Level {
        get { Logger.Level(rawValue: level.level.rawValue) ?? .info }
        set { if let new = LogLevel(rawValue: newValue.rawValue) { level.set(new) } }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var object: JSONObject = [
            "at": .number(SystemTime().now().seconds), "level": .string(event.level.rawValue),
            "message": .string("\(event.message)"),
        ]
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            object[key] = .string("\(value)")
        }
        Terminal.complain(JSONValue.object(object).encoded())
    }

    /// The process's logger.
    static func logger(_ level: LogSwitch) -> Logger {
        Logger(label: "vintner") { _ in JSONLog(level: level) }
    }
}

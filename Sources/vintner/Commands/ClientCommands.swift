import ArgumentParser
import JSON

/// `vintner submit`.
struct SubmitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "submit", abstract: "Send a job to the server.")

    @Argument(help: "The job as JSON; - reads standard input.")
    var file: String
    @Flag(help: "Wait for the end, show progress, and exit by the verdict.")
    var wait = false
    @Option(help: "Seconds to wait at most; the exit code is 4 afterwards.")
    var timeout: Int?
    @OptionGroup var server: ServerOptions

    func run() throws {
        try asking {
            let client = try server.client()
            let job = try client.ask("POST", "/v1/jobs", body: try readInput(file))
            guard let id = job["id"]?.stringValue else { throw ClientError.brokenAnswer("it names no job") }
            Terminal.say(id)
            if wait { try Follower(client: client, id: id, timeout: timeout).follow() }
        }
    }
}

/// `vintner watch`.
struct WatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Show a job's progress to its end, and exit by its verdict.")

    @Argument(help: "The job's id.")
    var id: String
    @Option(help: "Seconds to wait at most; the exit code is 4 afterwards.")
    var timeout: Int?
    @OptionGroup var server: ServerOptions

    func run() throws {
        try asking { try Follower(client: server.client(), id: try segment(id), timeout: timeout).follow() }
    }
}

/// `vintner jobs`.
struct JobsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "jobs", abstract: "List the newest jobs.")

    @Option(help: "Only those in this state.")
    var state: String?
    @Option(help: "How many at most.")
    var limit = 20
    @Flag(help: "Print the server's JSON.")
    var json = false
    @OptionGroup var server: ServerOptions

    func run() throws {
        try asking {
            var target = "/v1/jobs?limit=\(limit)"
            if let state { target += "&state=\(try segment(state))" }
            let list = try server.client().ask("GET", target)
            if json { return Terminal.say(list.encoded(pretty: true)) }
            for job in list["data"]?.arrayValue ?? [] {
                let name = job["name"]?.stringValue ?? ""
                Terminal.say("\(job["id"]?.stringValue ?? "")  \(ProgressLine.text(job))  \(name)")
            }
        }
    }
}

/// `vintner cancel`.
struct CancelCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "cancel", abstract: "Stop a job for good.")
    @OptionGroup var action: JobAction
    func run() throws { try action.run("cancel") }
}

/// `vintner pause`.
struct PauseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Stop a job at a checkpoint.")
    @OptionGroup var action: JobAction
    func run() throws { try action.run("pause") }
}

/// `vintner resume`.
struct ResumeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Let a paused job go on.")
    @OptionGroup var action: JobAction
    func run() throws { try action.run("resume") }
}

/// `vintner health`.
struct HealthCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health", abstract: "Exit with 0 when the server answers.")
    @OptionGroup var server: ServerOptions

    func run() throws {
        try asking { _ = try server.client().ask("GET", "/healthz", seconds: 5) }
    }
}

/// What the commands that steer a job share.
struct JobAction: ParsableArguments {
    @Argument(help: "The job's id.")
    var id: String
    @OptionGroup var server: ServerOptions

    func run(_ action: String) throws {
        try asking {
            let job = try server.client().ask("POST", "/v1/jobs/\(try segment(id))/\(action)")
            Terminal.say("\(id) \(job["state"]?.stringValue ?? "")")
        }
    }
}

/// Text that may stand in a request's target: ids and states are letters, digits and `_`.
func segment(_ text: String) throws(ClientError) -> String {
    guard !text.isEmpty,
        text.utf8.allSatisfy({ ($0 | 0x20 >= 97 && $0 | 0x20 <= 122) || (48...57).contains($0) || $0 == 95 })
    else { throw .badAddress(text) }
    return text
}

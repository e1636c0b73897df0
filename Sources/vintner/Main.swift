import ArgumentParser

/// The command line: one binary that serves, runs and asks.
@main struct Vintner: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vintner",
        abstract: "Trains, prunes and distils neural networks on as little compute as the hardware allows.",
        discussion: """
            Exit codes: 0 ok, 1 the job failed, 2 a gate failed, 3 cancelled, 4 timeout, 5 usage or transport.
            """, version: Version.current,
        subcommands: [
            ServeCommand.self, RunCommand.self, SubmitCommand.self, JobsCommand.self, WatchCommand.self,
            CancelCommand.self, PauseCommand.self, ResumeCommand.self,
            TokenCommand.self, DatasetsCommand.self, ModelsCommand.self, BackupCommand.self,
            DoctorCommand.self,
            PredictCommand.self, HealthCommand.self, PlanCommand.self,
            ProfileCommand.self, BenchStepCommand.self, BenchDistillCommand.self,
            BenchSparseCommand.self, BenchLatencyCommand.self,
            BenchPeakCommand.self, RunModelCommand.self,
        ])

    /// Runs the command; a usage error exits with 5, as every client command's failure to ask does.
    static func main() {
        Terminal.secure()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let code as ExitCode {
            exit(withError: code)
        } catch {
            let status = exitCode(for: error)
            guard status == .validationFailure || status == .failure else { exit(withError: error) }
            Terminal.complain(fullMessage(for: error))
            exit(withError: ExitCode(Ending.usage.rawValue))
        }
    }
}

/// What the process ends with.
enum Ending: Int32 {
    case ok = 0
    case failed = 1
    case gateFailed = 2
    case cancelled = 3
    case timeout = 4
    case usage = 5

    var error: ExitCode { ExitCode(rawValue) }
}

/// Which Vintner this is.
enum Version {
    static let current = "0.1.0"
}

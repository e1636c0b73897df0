import ArgumentParser
import JSON

/// `vintner models`.
struct ModelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "models", abstract: "Send models to a server, or list what it has.",
        subcommands: [Import.self, List.self])

    /// `vintner models import FILE`.
    struct Import: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a safetensors file whose metadata has the architecture (docs/models.md).")

        @Argument(help: "The file.")
        var file: String
        @Option(help: "What the model is called; by its id without one.")
        var name: String?
        @OptionGroup var server: ServerOptions

        func run() throws {
            try asking {
                let query = name.map { "?name=\(APIClient.escaped($0))" } ?? ""
                let model = try server.client().send(
                    file: file, "POST", "/v1/models\(query)", seconds: 3600)
                Terminal.say(ModelsCommand.line(of: model))
            }
        }
    }

    /// `vintner models list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the newest models, newest first.")

        @Option(help: "How many at most, up to 1000.")
        var limit = 50
        @OptionGroup var server: ServerOptions

        func run() throws {
            try asking {
                let page = try server.client().ask("GET", "/v1/models?limit=\(limit)")
                for model in page["data"]?.arrayValue ?? [] { Terminal.say(ModelsCommand.line(of: model)) }
            }
        }
    }

    private static func line(of model: JSONValue) -> String {
        "\(model["id"]?.stringValue ?? "")  \(model["name"]?.stringValue ?? "")  "
            + "\(model["parameters"]?.intValue ?? 0) parameters, \(model["bytes"]?.intValue ?? 0) bytes"
    }
}

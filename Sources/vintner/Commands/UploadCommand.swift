import ArgumentParser
import Data
import Files
import JSON

/// `vintner datasets upload NAME PATH...`.
struct UploadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upload", abstract: "Send a dataset to a server, which checks and publishes it.",
        discussion: DatasetOptions.discussion)

    @Argument(help: "How jobs will call it.")
    var name: String
    @Argument(help: "The files, or folders with them.")
    var paths: [String]
    @OptionGroup var options: DatasetOptions
    @OptionGroup var server: ServerOptions

    func run() throws {
        try asking {
            let client = try server.client()
            let files = try self.files()
            let names = files.map(Self.name)
            guard let format = options.format ?? DatasetFormat.Name(guessedFromNames: names) else {
                Terminal.complain("vintner: the names do not tell the format; say --format.")
                throw Ending.usage.error
            }
            let opened = try client.ask("POST", "/v1/datasets", body: body(format).encodedBytes())
            guard let id = opened["id"]?.stringValue else { throw ClientError.brokenAnswer("it has no id") }
            do {
                for file in files {
                    let target = "/v1/datasets/\(id)/files/\(APIClient.escaped(Self.name(file)))"
                    let sent = try client.send(file: file, "PUT", target)
                    Terminal.complain(
                        "\(Self.name(file)): \(sent["bytes"]?.intValue ?? 0) bytes, "
                            + "SHA-256 \(sent["sha256"]?.stringValue ?? "")")
                }
                let ready = try client.ask("POST", "/v1/datasets/\(id)/commit", seconds: 3600)
                Terminal.say(
                    "\(id)  \(name)  \(ready["train_count"]?.intValue ?? 0) + "
                        + "\(ready["test_count"]?.intValue ?? 0) samples")
            } catch {
                // What cannot be published is of no use to anybody; what is wrong with it matters more.
                do { _ = try client.send("DELETE", "/v1/datasets/\(id)") } catch let second {
                    Terminal.complain("vintner: the upload stays open as \(id): \(second)")
                }
                throw error
            }
        }
    }

    private func body(_ format: DatasetFormat.Name) -> JSONValue {
        var body: JSONObject = ["name": .string(name), "format": .string(format.rawValue)]
        if format == .text || format == .csv {
            if let tokens = options.tokens { body["tokens"] = .string(tokens.rawValue) }
            body["validation_fraction"] = .number(options.validationFraction)
            body["vocabulary_limit"] = JSONValue(options.vocabulary)
        }
        return .object(body)
    }

    /// The files, and those in the folders; hidden ones are nobody's data.
    private func files() throws(ClientError) -> [String] {
        var files: [String] = []
        for path in paths {
            guard Folder.status(of: path, followingLinks: true)?.isFolder == true else {
                files.append(path)
                continue
            }
            do {
                for name in try Folder.names(in: path) where !name.hasPrefix(".") {
                    let file = "\(path)/\(name)"
                    if Folder.status(of: file, followingLinks: true)?.isFolder == false { files.append(file) }
                }
            } catch { throw .unreadable(path: path, reason: error.description) }
        }
        return files
    }

    private static func name(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }
}

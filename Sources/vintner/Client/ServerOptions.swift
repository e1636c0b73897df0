import ArgumentParser
import Files
import Foundation
import JSON

/// Which server a command asks, and as whom.
struct ServerOptions: ParsableArguments {
    @Option(help: "The server's address; VINTNER_URL by default, else http://127.0.0.1:8080.")
    var url: String?
    @Option(help: "The server's UNIX socket instead; VINTNER_SOCKET by default.")
    var unixSocket: String?
    @Option(help: "Certificates to trust instead of the system's (PEM), for https; VINTNER_CA by default.")
    var ca: String?
    @Option(help: "The server's data folder, for the token in it; VINTNER_TOKEN goes before.")
    var data = FolderOption.standard

    /// A client for the server.
    func client() throws(ClientError) -> APIClient {
        let environment = ProcessInfo.processInfo.environment
        let token = environment["VINTNER_TOKEN"] ?? storedToken()
        // What is said on the command line goes before what lies in the environment.
        if let path = unixSocket ?? (url == nil ? environment["VINTNER_SOCKET"] : nil) {
            return APIClient(unixSocket: path, token: token)
        }
        let address = url ?? environment["VINTNER_URL"] ?? "http://127.0.0.1:8080"
        var client = try APIClient(address, token: token)
        if let path = ca ?? environment["VINTNER_CA"] {
            do { client.authority = try readFile(path, limit: 1 << 20) } catch {
                throw .unreadable(path: path, reason: error.description)
            }
        }
        return client
    }

    func validate() throws {
        guard url == nil || unixSocket == nil else {
            throw ValidationError("--url and --unix-socket name one server each; give one of them.")
        }
    }

    /// The token of the data folder; nil for a server that asks for none.
    private func storedToken() -> String? {
        guard let bytes = try? readFile(DataFolder(path: data).token, limit: 4096) else { return nil }
        return String(String(decoding: bytes, as: UTF8.self).prefix { !$0.isWhitespace })
    }
}

/// Runs a command's requests; what goes wrong between here and the server ends it with 5.
func asking<R>(_ body: () throws -> R) throws -> R {
    do { return try body() } catch let error as ClientError {
        Terminal.complain("vintner: \(error)")
        throw Ending.usage.error
    }
}

/// Reads a file, or standard input for `-`; at most the API's limit for a body.
func readInput(_ path: String) throws(ClientError) -> [UInt8] {
    do { return try readFile(path == "-" ? "/dev/stdin" : path, limit: 1 << 20) } catch {
        throw .unreadable(path: path, reason: error.description)
    }
}

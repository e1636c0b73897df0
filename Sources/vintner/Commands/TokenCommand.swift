public import ArgumentParser
import Files
import Glibc
public import HTTP
import JSON
import Jobs

extension Scope: ExpressibleByArgument {}

/// `vintner token`.
struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Give out tokens of a data folder, list them, or take them back.",
        discussion: """
            A running server follows at once. The token in DATA/token is the owner's: it may do everything \
            and is not among these.
            """, subcommands: [Add.self, List.self, Revoke.self])

    /// `vintner token add NAME`.
    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a token and print it; it is shown this once.")

        @Argument(help: "Whose it is: letters, digits, dots, dashes and underscores.")
        var name: String
        @Option(help: "read, submit or admin; may be given more than once. Each includes none of the others.")
        var scope: [Scope] = [.read]
        @Option(help: "Days after which it ends; never by default.")
        var expiresDays: Int?
        @OptionGroup var place: FolderOption

        func validate() throws {
            guard let expiresDays else { return }
            guard (1...36_500).contains(expiresDays) else {
                throw ValidationError("--expires-days takes 1 to 36500, not \(expiresDays)")
            }
        }

        func run() throws {
            // Who does not read the token any more is to be told of by an error.
            _ = signal(SIGPIPE, SIG_IGN)
            let folder = place.folder
            let now = SystemTime().now()
            let end = expiresDays.map { Timestamp(milliseconds: now.milliseconds + Int64($0) * 86_400_000) }
            try TokenCommand.attempt {
                guard Folder.status(of: folder.path, followingLinks: true)?.isFolder == true else {
                    throw TokenFile.Refusal.noFolder(folder.path)
                }
                try folder.make()
                let file = TokenFile(folder)
                let token = try file.add(name, Set(scope), at: now, expiresAt: end)
                guard Terminal.handOver(token) else {
                    try file.revoke(name)
                    throw TokenFile.Refusal.unseen(name)
                }
            }
        }
    }

    /// `vintner token list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the named tokens, not their secrets.")

        @OptionGroup var place: FolderOption

        func run() throws {
            let file = TokenFile(place.folder)
            try TokenCommand.attempt { try file.check() }
            let now = SystemTime().now()
            let rows = file.tokens.map { token in
                let end = token.expiresAt.map { end -> String in
                    let days = Double(end.milliseconds - now.milliseconds) / 86_400_000
                    return days > 0 ? "\(Int(days.rounded(.up))) days left" : "ended"
                }
                return [token.name, token.scopeNames.joined(separator: ","), end ?? "for ever"]
            }
            guard !rows.isEmpty else { return }
            var table = TextTable(
                ["NAME", "SCOPES", "VALID"].map { TextTable.Column(title: $0, isNumber: false) })
            for row in rows { table.add(row) }
            for line in table.lines { Terminal.say(line) }
        }
    }

    /// `vintner token revoke NAME`.
    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a token and the browser sessions that were opened with it.")

        @Argument(help: "Whose it is.")
        var name: String
        @OptionGroup var place: FolderOption

        func run() throws {
            try TokenCommand.attempt { try TokenFile(place.folder).revoke(name) }
        }
    }

    private static func attempt(_ body: () throws -> Void) throws {
        do { try body() } catch {
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
    }
}

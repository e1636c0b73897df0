import HTTP
import JSON
import TestSupport
import Testing

@Suite("To strangers the API", .timeLimit(.minutes(15))) struct StrangerTests {
    /// Every path that there is, with something in the place of what varies, and whether all of it is open.
    static func paths(_ live: LiveTests.Live) -> [(path: String, isOpen: Bool)] {
        let known = Dictionary(grouping: live.stage.router.routes, by: \.pattern).map { pattern, routes in
            let parts = pattern.split(separator: "/").map { $0.hasPrefix("{") ? "x" : String($0) }
            return (
                path: "/" + parts.joined(separator: "/"), isOpen: routes.allSatisfy { $0.access == .open }
            )
        }
        let unknown = ["/v1", "/v1/nothing", "/v2/jobs", "/v1/jobs/x/nothing", "/.git/config", "/admin"]
        return known + unknown.map { (path: $0, isOpen: false) }
    }

    private static let methods = HTTP.Method.allCases.map(\.rawValue) + ["TRACE", "BREW"]

    @Test("is closed, whatever the path and the method, but for what is open", arguments: [nil, "wrong"])
    func isClosed(token: String?) throws {
        let live = try LiveTests.Live { $0.failuresPerMinute = 1_000_000 }
        for (path, isOpen) in Self.paths(live) {
            for method in Self.methods {
                let reply = try live.ask(method, path, token: token)
                if isOpen {
                    #expect([200, 204, 405].contains(reply.status), "\(method) \(path)")
                } else {
                    #expect(reply.status == 401, "\(method) \(path)")
                    #expect(method == "HEAD" || reply["WWW-Authenticate"] == "Bearer", "\(method) \(path)")
                }
            }
        }
    }

    @Test("is closed where a name of theirs leads to our address, and to their pages with our cookie")
    func isClosedToBrowsers() throws {
        let live = try LiveTests.Live { ($0.failuresPerMinute, $0.writesPerSecond) = (1_000_000, 0) }
        let secret = try live.stage.authenticator.openSession(for: Principal(name: "owner"))
        let cookie = "Cookie: \(live.stage.authenticator.sessionCookie)=\(secret)"
        for (path, _) in Self.paths(live) {
            for method in Self.methods {
                // A page of evil.example, whose name was made to lead here, is of one origin with us.
                let client = try RawClient(port: live.port)
                client.send(
                    "\(method) \(path) HTTP/1.1\r\nHost: evil.example:\(live.port)\r\n"
                        + "Origin: http://evil.example:\(live.port)\r\nSec-Fetch-Site: same-origin\r\n\r\n")
                #expect(try client.reply(hasBody: method != "HEAD").status == 421, "\(method) \(path)")
                guard !["GET", "HEAD", "OPTIONS", "TRACE", "BREW"].contains(method) else { continue }
                for site in [
                    ["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: same-site"],
                    ["Origin: http://evil.example"],
                    ["Origin: null"],
                    ["Sec-Fetch-Site: cross-site", "Origin: http://127.0.0.1:\(live.port)"],
                ] {
                    for headers in [[cookie] + site, ["Authorization: Bearer secret"] + site] {
                        let reply = try live.ask(method, path, token: nil, headers: headers)
                        #expect(reply.status == 403, "\(method) \(path) \(headers)")
                    }
                }
            }
        }
        for headers in [["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: same-site"]] {
            let reply = try live.ask("GET", "/v1/jobs", token: nil, headers: [cookie] + headers)
            #expect(reply.status == 403)
        }
    }
}

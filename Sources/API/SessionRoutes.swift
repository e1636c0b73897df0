import HTTP
import JSON

/// How a browser, which cannot send a bearer token by itself, signs in: for a cookie that no script reads.
struct SessionRoutes: Sendable {
    let authenticator: TokenAuthenticator

    private static let login = Field.optionalString(
        "login", lengthMax: 128, "The one-time secret of the address that the server printed.")
    private static let schema = ObjectSchema("session", "Signing in.", fields: [login])
    /// Strangers may send it: no more than a secret takes.
    private static let byteCountMax = 4096

    var operations: [Operation] {
        let cookie = (name: "Set-Cookie", documentation: "The session; for browsers.")
        return [
            Operation(
                "openSession", "Signs a browser in, by the token or by a one-time secret.", .session,
                Route(
                    .post, "/v1/session", access: .open, query: [],
                    body: .json(byteCountMax: Self.byteCountMax), handler: open),
                body: RequestBody(Self.schema),
                answers: [.json("Who is signed in.", .session, status: .created, headers: [cookie])],
                refusals: [.unauthorized]),
            Operation(
                "getSession", "Who is signed in.", .session,
                Route(.get, "/v1/session", access: .requires(.read), execution: .inline, handler: show),
                answers: [.json("Who.", .session)]),
            Operation(
                "closeSession", "Signs a browser out.", .session,
                Route(.delete, "/v1/session", access: .requires(.read), handler: close),
                answers: [Answer(.noContent, "Signed out.", headers: [cookie])]),
        ]
    }

    /// Opens a session for whoever sends the token or a login secret; 401 `invalid_login`.
    private func open(_ request: Request) throws -> Response {
        let log = ViolationLog()
        var reader = ObjectReader(try request.json(orEmpty: [:]), as: Self.schema, at: "", log: log)
        let login = reader.read(Self.login)
        reader.finish()
        try log.throwIfAny()
        // A session opens no other: it would never end.
        let caller = request.headers["Authorization"] == nil ? authenticator.anonymous : request.principal
        guard let principal = login.map({ authenticator.redeem(login: $0) }) ?? caller else {
            throw Problem(
                .unauthorized, "invalid_login",
                login == nil
                    ? "Expected the member login, or a valid token as Authorization: Bearer TOKEN."
                    : "The one-time secret in login is not valid, or was used before.",
                headers: ["WWW-Authenticate": "Bearer"])
        }
        let secret = try authenticator.openSession(for: principal)
        var response = Response.json(Self.json(principal), status: .created)
        response.headers["Set-Cookie"] = cookie(
            secret, seconds: TokenAuthenticator.sessionSeconds, request)
        return response
    }

    /// Who is signed in.
    private func show(_ request: Request) throws -> Response {
        let principal = request.principal ?? Principal(name: "", scopes: [])
        return .json(Self.json(principal))
    }

    /// Signs out.
    private func close(_ request: Request) throws -> Response {
        if let secret = request.headers.cookie(authenticator.sessionCookie) {
            authenticator.closeSession(secret)
        }
        return Response(.noContent, headers: ["Set-Cookie": cookie("", seconds: 0, request)])
    }

    private func cookie(_ value: String, seconds: Int, _ request: Request) -> String {
        // A browser that came by a TLS proxy tells by its Origin.
        let isSecure = request.isEncrypted || request.headers["Origin"]?.hasPrefix("https://") == true
        return "\(authenticator.sessionCookie)=\(value); HttpOnly; SameSite=Strict; Path=/; "
            + "Max-Age=\(seconds)\(isSecure ? "; Secure" : "")"
    }

    private static func json(_ principal: Principal) -> JSONValue {
        [
            "object": "session", "principal": .string(principal.name),
            "scopes": .array(Scope.allCases.filter(principal.scopes.contains).map { .string($0.rawValue) }),
        ]
    }
}

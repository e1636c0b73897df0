/// Who may pass: Host, then credentials, then scope, then the browser's origin.
///
/// Stands before the router: a route cannot forget it, and an unknown path tells a stranger nothing.
struct Gate: Sendable {
    let authenticator: any Authenticator
    let limiter: FailureLimiter
    let writes: WriteLimiter

    /// How a caller was recognised.
    private enum Credential {
        /// Sent by the client on purpose.
        case bearer(Principal)
        /// Sent by a browser by itself, also when another site made it call.
        case ambient(Principal)

        var principal: Principal {
            switch self {
            case .bearer(let principal), .ambient(let principal): principal
            }
        }
    }

    /// Lets a request pass or says why not.
    ///
    /// - Parameters:
    ///   - head: The request.
    ///   - access: What the route asks for; of an unknown path, reading.
    /// - Returns: Who calls, as far as that is known; and why not, if so: 401, 403, 421 or 429.
    func admit(_ head: ValidHead, to access: Route.Access) -> (principal: Principal?, refusal: Problem?) {
        var principal: Principal?
        do throws(Problem) { try check(head, access, &principal) } catch { return (principal, error) }
        return (principal, nil)
    }

    private func check(
        _ head: ValidHead, _ access: Route.Access, _ principal: inout Principal?
    ) throws(Problem) {
        guard head.listener.hosts.contains(head.host.lowercased()) else {
            throw Problem(
                .misdirectedRequest, "unknown_host",
                "This service does not answer to the host it was called by.")
        }
        let credential = try identify(head, isPublic: access == .open)
        principal = credential?.principal
        if case .requires(let scope) = access {
            guard let credential else { throw unauthorized("unauthorized", "A bearer token is needed.") }
            guard credential.principal.scopes.contains(scope) else {
                throw Problem(
                    .forbidden, "insufficient_scope", "The token lacks the scope \(scope.rawValue).")
            }
        }
        try checkOrigin(head, credential)
    }

    /// Holds back who changes too much in a short time; once it is sure that there is something to change.
    func checkRate(_ head: ValidHead, _ principal: Principal?) throws(Problem) {
        // Strangers, who may sign in, are told apart by their addresses.
        let caller = principal.map { "token \($0.name)" } ?? "peer \(head.peer)"
        guard !head.method.isSafe, let seconds = writes.take(caller, at: .now) else { return }
        throw Problem(
            .tooManyRequests, "too_many_writes", "Too many changes in a short time; slow down.",
            headers: ["Retry-After": "\(max(1, Int(seconds.rounded(.up))))"])
    }

    /// The answer to a request that had passed: who presents wrong secrets to a handler is slowed down too.
    func slowGuessing(_ head: ValidHead, _ response: Response) -> Response {
        guard response.status == .unauthorized, let refusal = failed(head) else { return response }
        return refusal.response
    }

    /// Counts wrong credentials; what is told from the time on when there were too many.
    private func failed(_ head: ValidHead) -> Problem? {
        limiter.fail(head.peer, at: ContinuousClock.now).map { seconds in
            Problem(
                .tooManyRequests, "too_many_failures",
                "Too many wrong credentials; wait before the next try.",
                headers: ["Retry-After": "\(seconds)", "Connection": "close"])
        }
    }

    /// Whether who has passed would pass again: a token may have been taken back, a session have ended.
    func stillAdmits(_ head: ValidHead, to access: Route.Access) -> Bool {
        guard case .requires(let scope) = access else { return true }
        return recognise(head)?.principal.scopes.contains(scope) ?? false
    }

    /// The answer to who waited and may not any more.
    var dismissal: Response {
        unauthorized("invalid_token", "The credentials are not valid any more.").response
    }

    private func recognise(_ head: ValidHead) -> Credential? {
        if let authorization = head.headers["Authorization"] {
            let parts = authorization.split(separator: " ", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
            return authenticator.principal(bearer: parts[1].trimmingSpaces()).map { .bearer($0) }
        }
        if let session = head.headers.cookie(authenticator.sessionCookie),
            let principal = authenticator.principal(session: session)
        {
            return .ambient(principal)
        }
        return authenticator.anonymous.map { .ambient($0) }
    }

    private func identify(_ head: ValidHead, isPublic: Bool) throws(Problem) -> Credential? {
        let credential = recognise(head)
        // A route without secrets answers whatever is sent along.
        guard credential == nil, !isPublic, head.headers["Authorization"] != nil else { return credential }
        if let refusal = failed(head) { throw refusal }
        throw unauthorized("invalid_token", "The credentials are not valid.")
    }

    /// A page of another site can make a browser send requests, cookies included, but not lie about where
    /// it comes from.
    private func checkOrigin(_ head: ValidHead, _ credential: Credential?) throws(Problem) {
        let site = head.headers["Sec-Fetch-Site"]
        let isOwnSite = site == "same-origin" || site == "none"
        if head.method.isSafe {
            // Reading by what a browser sends along unasked is for our own pages.
            guard case .ambient? = credential, let site, !isOwnSite,
                head.headers["Sec-Fetch-Mode"] != "navigate"
            else { return }
            throw Problem(
                .forbidden, "cross_site", "A \(site == "same-site" ? site : "cross-site") page may not read.")
        }
        if site != nil {
            guard isOwnSite else {
                throw Problem(.forbidden, "cross_site", "Another site's page may not do this.")
            }
            return
        }
        if let origin = head.headers["Origin"] {
            let scheme = head.listener.transport == .encrypted ? "https" : "http"
            guard origin.lowercased() == "\(scheme)://\(head.host.lowercased())" else {
                throw Problem(.forbidden, "cross_site", "Another site's page may not do this.")
            }
            return
        }
        // Neither header: not a browser. A cookie or no credential at all would then be forged.
        guard case .ambient? = credential, authenticator.anonymous == nil else { return }
        throw Problem(.forbidden, "cross_site", "A session needs Origin or Sec-Fetch-Site.")
    }

    private func unauthorized(_ code: String, _ detail: String) -> Problem {
        Problem(.unauthorized, code, detail, headers: ["WWW-Authenticate": "Bearer"])
    }
}

extension Headers {
    /// The value of a cookie.
    public func cookie(_ name: String) -> String? {
        for field in all("Cookie") {
            for pair in field.split(separator: ";") {
                let pair = pair.trimmingSpaces()
                if pair.hasPrefix("\(name)=") { return String(pair.dropFirst(name.count + 1)) }
            }
        }
        return nil
    }
}

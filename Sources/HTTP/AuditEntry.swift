/// Who asked for what, and what came of it.
public struct AuditEntry: Sendable, Equatable {
    /// The request's method.
    public let method: Method
    /// Its path, decoded, or as it came where the request was malformed; clients chose it.
    public let path: String
    /// Whose token or session it was; nil where the request was refused before that was known.
    public let principal: String?
    /// The client's address.
    public let peer: String
    /// The answer's status.
    public let status: Int
    /// Also in the answer's `X-Request-Id`.
    public let requestID: String
    /// The path of what it made, if it made something.
    public var location: String?
}

extension ServerConfiguration {
    /// Tells of a request that was to change something; of others where that is wanted.
    func audit(_ head: ValidHead, _ principal: Principal?, _ response: Response, requestID: String) {
        guard !head.method.isSafe || auditsReads() else { return }
        audit(
            AuditEntry(
                method: head.method, path: "/" + head.path.joined(separator: "/"), principal: principal?.name,
                peer: head.peer, status: response.status.code, requestID: requestID,
                location: response.headers["Location"]))
    }

    /// Tells of a request that was to change something and could not be read.
    func audit(malformed head: RequestHead, _ response: Response, requestID: String) {
        guard let method = Method(rawValue: head.method), !method.isSafe else { return }
        audit(
            AuditEntry(
                method: method, path: head.path, principal: nil, peer: head.peer,
                status: response.status.code, requestID: requestID))
    }
}
